"""Delphi's folder of results: explanations, and questions of detection and fuzz."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from interp.domain.evidence import Contexts
from interp.domain.record import ExplanationRecord, FeatureRecord, RunSource
from interp.domain.score import Item
from interp.domain.vocabulary import Vocabulary
from interp.exchange.formats.base import FormatFacts, FormatOptions, Piece, Portions, segment
from interp.store.listings.records import Part

EXPLANATIONS, SCORES, CONFIG = "explanations", "scores", "run_config.json"
# Of our scorers those whose questions are Delphi's: does it fire in this window, are these marks right?
SCORERS = frozenset({"detection", "fuzz"})
# The windows that a value of ours counts: the top windows are asked about, too, and reported apart.
COUNTED = frozenset({"uniform", "weighted", "inactive", "near_miss", "misplaced"})
QUANTILES = 10
# Delphi's distance of a silent window that is no neighbour's.
SILENT = -1


class Delphi:
    """Writes the best explanation of each feature, and the questions of its scores."""

    facts = FormatFacts(
        name="delphi",
        media_type="application/zip",
        suffix="",
        parts=frozenset({Part.EXPLANATIONS, Part.CONTEXTS}),
        readers="Delphi's scorers and its analysis of results, `glossator import`",
        lost=(
            "all explanations but the best, with their explainers, rules, provenance and failures",
            "scores but detection and fuzz; of these intervals, nulls and controls, and the questions about top windows",
            "statistics and latents, which Delphi reads from its own cache",
        ),
        items_of=SCORERS,
    )

    def write(self, source: RunSource, portions: Portions, parts: frozenset[Part], options: FormatOptions) -> Iterator[Piece]:  # noqa: ARG002 - it has none
        module = segment(source.hook_point)
        yield Piece(_json({"model": source.subject, "sparse_model": source.dictionary, "hookpoints": [module]}), CONFIG)
        for portion in portions:
            for record in portion:
                made = _shown(record)
                if made is None:
                    continue
                name = f"{module}_latent{record.index}.txt"
                yield Piece(_json(made.text), f"{EXPLANATIONS}/{name}")
                for scorer, items in sorted(made.items.items()):
                    rows = [] if record.evidence is None else _rows(items, record.evidence.contexts, source.vocabulary)
                    if rows:
                        yield Piece(_json(rows), f"{SCORES}/{scorer}/{name}")


def _shown(record: FeatureRecord) -> ExplanationRecord | None:
    """Return the best explanation, else the first that has a text."""
    found = [made for made in record.explanations if made.text is not None]
    return next((made for made in found if made.best), found[0] if found else None)


def _rows(items: Sequence[Item], contexts: Contexts, vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """Return the counted questions as Delphi's `ClassifierOutput`.

    Questions about windows that are not stored are left out.
    """
    places = {name: row for row, name in enumerate(contexts.identities())}
    asked = [item for item in items if item.context in places and COUNTED & set(item.kind.split("+"))]
    peaks = contexts.maxima()
    firing = sorted((item.context for item in asked if item.truth), key=lambda name: -peaks[places[name]])
    # As in Delphi, the strongest windows are the first quantile.
    quantiles = {name: rank * QUANTILES // len(firing) for rank, name in enumerate(firing)}
    return [_row(item, contexts, places[item.context], quantiles.get(item.context, SILENT), vocabulary) for item in asked]


def _row(item: Item, contexts: Contexts, row: int, distance: int, vocabulary: Vocabulary) -> dict[str, Any]:
    length = int(contexts.lengths[row])
    answer = None if item.prediction is None else bool(item.prediction)
    return {
        "str_tokens": vocabulary.texts(contexts.tokens[row, :length].tolist()),
        "activations": np.asarray(contexts.activations[row, :length], np.float64).tolist(),
        "distance": distance,
        "activating": bool(item.truth),
        "prediction": answer,
        "probability": None,
        "correct": None if answer is None else answer == bool(item.truth),
    }


def _json(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
