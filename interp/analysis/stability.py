"""Estimate how stable scores are, from jobs that scored the same features differently."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import erf
from typing import Any

import numpy as np

from interp.domain.digests import digest_of
from interp.stats.variance_components import (
    CRITICAL,
    FEATURE,
    Component,
    CrossedStudy,
    Figure,
    features_needed,
    items_factor_needed,
)

FACTORS = ("judge", "explainer model", "corpus", "seed")
# Digits of a corpus' digest that name it.
SHORT = 8
REPEATS = (1, 2, 4, 8)
# The run, explainer and its settings digest, scorer and its settings digest.
Key = tuple[int, str, str, str, str]


@dataclass(frozen=True, slots=True)
class Condition:
    """How some scores were made.

    `alike` is what they share with others: explainer, scorer, metric, settings. `levels` is one for each of `FACTORS`.
    """

    alike: tuple[str, str, str, str]
    levels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DesignFigures:
    """What it takes to tell two dictionaries whose mean scores differ by `difference`.

    features_unpaired  features of each dictionary, its own, one score of each
    features_paired    features that both scores are of, such as labels of two explainers; true scores differ alike
    chance_right       that dictionaries of as many features as here, which differ so much, come in the right order
    items_factor       by how much the items of a score must grow so that as many features as here suffice; None: no number of items does
    item_share         share of the variance of a score that is the draw of its items; None where scores have no interval
    """

    difference: float
    features_unpaired: Figure
    features_paired: Figure
    chance_right: float
    items_factor: float | None
    item_share: float | None


@dataclass(frozen=True, slots=True)
class Stability:
    """One explainer by one scorer, over the conditions that it was scored under.

    Figures are of the `features` with a score under each condition; `skipped` conditions have too few of them. `reliability` is of a mean over
    1, 2, 4 and 8 scorings, each with its own level of every factor.
    """

    explainer: str
    scorer: str
    metric: str
    features: int
    conditions: int
    skipped: int
    mean: float
    levels: Mapping[str, Sequence[str]]
    left_out: Mapping[str, str]
    components: Sequence[Component]
    condition_components: Sequence[Component]
    reliability: Mapping[int, Figure]
    design: DesignFigures


def condition_of(identity: Mapping[str, Any], explainer: str, scorer: str, metric: str, details: Any, provenance: Any, spec: Any) -> Condition | None:
    """Return the condition of scores, from run, job and provenance.

    None where the job has several explainers or scorers of the name. The seed is that of the run, too: it draws contexts.
    """
    chosen = [_only(spec.get(kind), name) for kind, name in (("explainers", explainer), ("scorers", scorer))]
    if None in chosen:
        return None
    settings = json.dumps([chosen, {name: value for name, value in identity.items() if name not in ("corpus", "seed")}], sort_keys=True)
    judge = (details.get("provenance") or {}).get("judge")
    model = provenance.get("model")
    name = model.get("model") if isinstance(model, dict) else None
    return Condition(
        (explainer, scorer, metric, settings), (str(judge), str(name), digest_of(identity.get("corpus"))[:SHORT], str(spec.get("seed", 0)))
    )


def _only(entries: Any, name: str) -> dict[str, Any] | None:
    found = [entry for entry in entries or () if isinstance(entry, dict) and entry.get("name") == name]
    return found[0] if len(found) == 1 else None


@dataclass
class StabilityTable:
    """Scores by condition, as they are read: of each feature its value and standard error."""

    conditions: Mapping[Key, Condition]
    scores: dict[Key, dict[int, tuple[float, float | None]]] = field(default_factory=dict)

    def add(self, rows: Iterable[Sequence[Any]]) -> None:
        """Add rows of `interp.store.results.stability.scores`."""
        for *key, feature, value, low, high in rows:
            known: Key = (key[0], key[1], key[2], key[3], key[4])
            if known in self.conditions:
                error = None if low is None or high is None else (high - low) / (2 * CRITICAL)
                self.scores.setdefault(known, {})[feature] = (value, error)

    def studies(self, difference: float) -> list[Stability]:
        """Return the stability of each explainer by each scorer with two conditions; most features first."""
        groups: dict[tuple[str, str, str, str], dict[tuple[str, ...], Key]] = {}
        # Of conditions with equal levels, such as the same job with more nulls, the one with most features counts: its answers are the same ones.
        for key in sorted(self.scores, key=lambda key: (len(self.scores[key]), key)):
            condition = self.conditions[key]
            groups.setdefault(condition.alike, {})[condition.levels] = key
        found = [_study(alike, {levels: self.scores[key] for levels, key in of.items()}, difference) for alike, of in groups.items()]
        return sorted((one for one in found if one is not None), key=lambda one: (-one.features, one.explainer, one.scorer))


def _study(
    alike: tuple[str, str, str, str], scores: Mapping[tuple[str, ...], Mapping[int, tuple[float, float | None]]], difference: float
) -> Stability | None:
    kept, features = _common(scores)
    if len(kept) < 2 or len(features) < 2:
        return None
    table = np.array([[scores[levels][feature][0] for levels in kept] for feature in features])
    squares = [se**2 for levels in kept for feature in features if (se := scores[levels][feature][1]) is not None]
    names = {factor: sorted({levels[place] for levels in kept}) for place, factor in enumerate(FACTORS)}
    codes = np.array([[names[factor].index(levels[place]) for place, factor in enumerate(FACTORS)] for levels in kept])
    study = CrossedStudy(table, codes, FACTORS)
    error = study.error_weights({})
    return Stability(
        explainer=alike[0],
        scorer=alike[1],
        metric=alike[2],
        features=len(features),
        conditions=len(kept),
        skipped=len(scores) - len(kept),
        mean=float(table.mean()),
        levels=names,
        left_out=study.left_out,
        components=study.components(),
        condition_components=study.condition_components(),
        reliability={times: study.reliability({name: weight / times for name, weight in error.items()}) for times in REPEATS},
        design=_design(study, error, difference, float(np.mean(squares)) if squares else None, redrawn=len(names["seed"]) > 1),
    )


def _common(scores: Mapping[tuple[str, ...], Mapping[int, Any]]) -> tuple[list[tuple[str, ...]], list[int]]:
    """Return the conditions and features of the largest complete table, by degrees of freedom.

    Conditions come by their number of features, so that one of few features does not leave out those of the others.
    """
    order = sorted(scores, key=lambda levels: (-len(scores[levels]), levels))
    best: tuple[list[tuple[str, ...]], list[int]] = ([], [])
    common: set[int] = set(scores[order[0]])
    for count, levels in enumerate(order, 1):
        common &= scores[levels].keys()
        if (count - 1) * (len(common) - 1) > max(0, (len(best[0]) - 1) * (len(best[1]) - 1)):
            best = (order[:count], sorted(common))
    return best


def _design(study: CrossedStudy, error: Mapping[str, float], difference: float, by_items: float | None, redrawn: bool) -> DesignFigures:
    """Return the figures of design; `by_items` is the mean squared standard error of scores.

    Intervals are wider than errors. Where seeds drew items anew (`redrawn`), items can be no more than what seeds do not find again.
    """
    single = study.combination({FEATURE: 1.0, **error})
    paired = study.combination({name: 2 * weight for name, weight in error.items()})
    variance = max(0.0, single.value)
    deviation = (2 * variance / study.features) ** 0.5
    items = None if by_items is None else min(by_items, max(0.0, study.combination(error).value) if redrawn else variance)
    return DesignFigures(
        difference=difference,
        features_unpaired=_needed(single, difference, paired=False),
        features_paired=_needed(paired, difference, paired=True),
        chance_right=0.5 * (1 + erf(difference / deviation / 2**0.5)) if deviation > 0 else 1.0,
        items_factor=None if items is None else items_factor_needed(variance - items, items, difference, study.features, paired=False),
        item_share=None if items is None or variance <= 0 else items / variance,
    )


def _needed(variance: Figure, difference: float, paired: bool) -> Figure:
    value, low, high = (None if one is None else features_needed(one, difference, paired) for one in (variance.value, variance.low, variance.high))
    return Figure(float(value or 0), None if low is None else float(low), None if high is None else float(high))
