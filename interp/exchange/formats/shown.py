"""Group firing windows and name methods as other tools show them."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from interp.domain.evidence import ACTIVE_KINDS, HISTOGRAM_EDGES, ContextKind, FeatureEvidence
from interp.domain.record import ExplanationRecord
from interp.domain.vocabulary import Vocabulary
from interp.exchange.text import decimal

INTERVALS = 5
# Names that users of Neuronpedia know.
METHODS = {
    "contexts": "eleuther_acts_top20",
    "token_activations": "oai_token-act-pair",
    "max_act_logits": "np_max-act-logits",
}


@dataclass(frozen=True, slots=True)
class ShownWindow:
    """A firing window.

    `low` and `high` are its group's activations, `share` that of active tokens in it; the top group has none (-1).
    """

    id: str
    tokens: list[str]
    values: list[float]
    peak: float
    peak_at: int
    low: float
    high: float
    share: float

    @property
    def is_top(self) -> bool:
        return self.low < 0


def windows(evidence: FeatureEvidence, vocabulary: Vocabulary) -> Iterator[ShownWindow]:
    """Yield the top windows, then the others by interval of their maximum, the highest first.

    A window that is in several samples is shown once.
    """
    contexts = evidence.contexts
    peaks, names = contexts.maxima(), contexts.identities()
    largest = evidence.statistics.max_activation or float(peaks.max(initial=0.0))
    edges = np.linspace(0.0, largest, INTERVALS + 1)
    is_top = contexts.kinds == ContextKind.TOP
    group = np.where(is_top, INTERVALS, np.clip(np.searchsorted(edges, peaks, side="left") - 1, 0, INTERVALS - 1))
    seen: set[str] = set()
    for row in np.lexsort((-peaks, -group)).tolist():
        if contexts.kinds[row] not in ACTIVE_KINDS or names[row] in seen:
            continue
        seen.add(names[row])
        length, place = int(contexts.lengths[row]), int(group[row])
        low, high = (-1.0, largest) if place == INTERVALS else (float(edges[place]), float(edges[place + 1]))
        values = contexts.activations[row, :length]
        yield ShownWindow(
            id=names[row],
            tokens=vocabulary.texts(contexts.tokens[row, :length].tolist()),
            values=[decimal(value) or 0.0 for value in values],
            peak=decimal(peaks[row]) or 0.0,
            peak_at=int(values.argmax()) if length else 0,
            low=low,
            high=decimal(high) or 0.0,
            share=-1.0 if place == INTERVALS else round(share_between(evidence, low, high), 6),
        )


def share_between(evidence: FeatureEvidence, low: float, high: float) -> float:
    """Return the share of active tokens in an interval, by the histogram.

    Bins are split in proportion to their width.
    """
    counts = evidence.histogram.astype(np.float64)
    if not counts.sum():
        return 0.0
    left, right = HISTOGRAM_EDGES[:-1], HISTOGRAM_EDGES[1:]
    inside = np.clip(np.minimum(right, high) - np.maximum(left, low), 0, None) / (right - left)
    return float((counts * inside).sum() / counts.sum())


def bars(evidence: FeatureEvidence) -> tuple[list[float], list[int]]:
    """Return middles and heights of the bins between the first and last non-empty ones."""
    filled = np.flatnonzero(evidence.histogram)
    if not len(filled):
        return [], []
    first, last = int(filled[0]), int(filled[-1]) + 1
    middles = [round(float(np.sqrt(low * high)), 6) for low, high in pairwise(HISTOGRAM_EDGES[first : last + 1])]
    return middles, evidence.histogram[first:last].tolist()


def effects(evidence: FeatureEvidence, vocabulary: Vocabulary, most: int | None = None) -> dict[str, list[tuple[str, float]]]:
    """Return promoted and suppressed tokens with their logits."""
    sides = {"promoted": evidence.promoted[:most], "suppressed": evidence.suppressed[:most]}
    return {side: [(vocabulary.text(effect.token), effect.logit) for effect in found] for side, found in sides.items()}


def method_of(made: ExplanationRecord) -> str:
    """Return how the explanation was made, by the name that users of Neuronpedia know."""
    return METHODS.get(made.explainer, made.explainer)


def model_of(made: ExplanationRecord) -> str:
    """Return the model that wrote the explanation, else its author or the explainer."""
    model: Any = made.provenance.get("model")
    name = model.get("model") if isinstance(model, dict) else model
    return str(name or made.provenance.get("author") or made.explainer)
