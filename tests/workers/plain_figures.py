"""Summarise all scores by definition: one score an object, one list a family.

Books to say it of are drawn at random.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np

from interp.analysis.score_table import ScoreTable, table_of
from interp.planning.plan import Range
from interp.score.best import ORDER
from interp.score.controls.min_windows import scarce_kind_of, too_few
from interp.stats.agreement import cohens_kappa
from interp.stats.misclassification import ErrorRate, corrected_balanced_accuracy
from interp.stats.multiplicity import benjamini_hochberg
from interp.stats.pooled import pooled_p, strata_of
from interp.stats.shrinkage import Shrunken, expected_overlap, shrink
from interp.store.results.dictionary_scores import BestExplanation

REASONS = (None, "too few nulls", "nothing to compare", "20 firing and 1 silent windows were answered; a lift needs 5 of each.")
TABLE = (("yes_yes", 1, 1), ("yes_no", 1, 0), ("no_yes", 0, 1), ("no_no", 0, 0))


@dataclass(frozen=True)
class Figure:
    """One score."""

    id: int
    feature: int
    explanation_id: int
    family: tuple[str, str] = ("a", "digest")
    label: str | None = "label"
    metric: str = "balanced_accuracy"
    value: float | None = None
    lift: float | None = None
    p_value: float | None = None
    q_value: float | None = None
    low: float | None = None
    high: float | None = None
    null_reason: str | None = None
    null_values: tuple[float | None, ...] = ()
    controls: tuple[dict[str, Any], ...] = ()
    shrunken_value: float | None = None
    p_method: str | None = None
    p_paired: float | None = None


def in_columns(figures: Sequence[Figure], asked: Sequence[Range] = ((0, 10**9),), portion: int = 7) -> ScoreTable:
    """The same figures as a summary has them, come in portions of so many rows."""
    rows = [
        (
            *(item.id, item.feature, item.explanation_id, *item.family, item.metric),
            *(
                item.value,
                item.lift,
                item.p_value,
                item.q_value,
                item.shrunken_value,
                item.p_paired,
                item.low,
                item.high,
                item.p_method,
                item.null_reason,
            ),
            *(None if item.p_method == "rank" else list(item.null_values) or None, list(item.controls) or None),
        )
        for item in figures
    ]
    return table_of((rows[start : start + portion] for start in range(0, len(rows), portion)), asked)


def concluded(figures: Sequence[Figure], densities: Mapping[int, float] | None) -> list[Figure]:
    done: dict[int, Figure] = {}
    for family in dict.fromkeys(figure.family for figure in figures):
        members = [figure for figure in figures if figure.family == family]
        if densities is not None:
            members = _with_pooled_p(members, densities)
        q_values = benjamini_hochberg([figure.p_value for figure in members])
        for figure, q, value in zip(members, q_values, _shrunk(members).means, strict=True):
            done[figure.id] = replace(figure, q_value=_number(q), shrunken_value=_number(value))
    return [done[figure.id] for figure in figures]


def figures_of(figures: Sequence[Figure]) -> dict[str, Any]:
    values = [figure.value for figure in figures if figure.value is not None]
    lifts = [figure.lift for figure in figures if figure.lift is not None]
    tested = [figure.q_value for figure in figures if figure.q_value is not None]
    return {
        "metric": figures[0].metric if figures else None,
        "scored": len(values),
        "undefined": len(figures) - len(values),
        "median": median(values) if values else None,
        "median_lift": median(lifts) if lifts else None,
        "tested": len(tested),
        "better_than_null": sum(q <= 0.05 for q in tested),
        "significant_at": 0.05,
        "too_few": too_few(Counter(figure.null_reason for figure in figures)),
        "ranking": ranking_of(figures),
        **controls_of(figures),
    }


def ranking_of(figures: Sequence[Figure]) -> dict[str, Any]:
    families = list(dict.fromkeys(figure.family for figure in figures))
    found = _shrunk([figure for figure in figures if figure.family == families[0]] if families else [])
    known = int((~np.isnan(found.means)).sum())
    worst = min(100, known // 2)
    overlap = expected_overlap(found.means, found.deviations, worst) if found.reliability is not None and worst else None
    return {"features": known, "reliability": found.reliability, "worst": worst, "worst_found": overlap}


def best_of(judged: Mapping[str, Iterable[Figure]], labels: Iterable[tuple[int, int, str]]) -> list[BestExplanation]:
    """Return the best of each feature.

    Given are scores by scorer, and (feature, explanation id, label) of every explanation, scored or not.
    """
    shown: dict[int, tuple[tuple[float, ...], BestExplanation]] = {}

    def offer(key: tuple[float, ...], item: BestExplanation) -> None:
        if item.feature not in shown or key < shown[item.feature][0]:
            shown[item.feature] = key, item

    for scorer, figures in judged.items():
        for item in (item for item in figures if item.value is not None):
            lift = -math.inf if item.lift is None else item.lift
            key = (ORDER.index(scorer), -float(item.value if item.shrunken_value is None else item.shrunken_value), -lift, item.explanation_id)
            figure = (item.value, item.lift, item.q_value, item.shrunken_value, item.p_value)
            offer(key, BestExplanation(item.feature, item.explanation_id, item.label, scorer, *figure))
    for feature, made, label in labels:
        offer((len(ORDER), 0.0, 0.0, made), BestExplanation(feature, made, label))
    return [shown[feature][1] for feature in sorted(shown)]


def controls_of(figures: Sequence[Figure]) -> dict[str, Any]:
    by_name: dict[str, list[dict[str, Any]]] = {}
    for figure in figures:
        for control in figure.controls:
            by_name.setdefault(control["name"], []).append(control | {"feature": figure.feature})
    found: dict[str, Any] = {name: _compared(by_name[name]) for name in ("empty", "baseline") if name in by_name}
    found |= {name: _agreement(by_name[name]) for name in ("repeat", "judge_swap") if name in by_name}
    if "gold" in by_name:
        found["gold"] = _gold(by_name["gold"], [figure.value for figure in figures if figure.metric == "balanced_accuracy"])
    return found


def is_within(feature: int, ranges: Sequence[Range]) -> bool:
    return any(start <= feature < stop for start, stop in ranges)


def random_figures(seed: int, features: int) -> list[Figure]:
    """Draw up to three families that explain some of the features each.

    Values tie or are undefined, and nulls and controls are of all kinds.
    """
    random = np.random.default_rng(seed)
    families = [("b", "1"), ("a", "1"), ("a", "2")][: int(random.integers(1, 4))]
    most_nulls, digits = int(random.choice([1, 2, 3, 12, 25])), int(random.choice([1, 3, 16]))
    found: list[Figure] = []
    for feature in range(features):
        for place in random.permutation(len(families)):
            if random.random() < 0.8:
                number = len(found) + 1
                drawn = _random_figure(random, most_nulls, digits)
                found.append(Figure(5_000 - number * 3, feature, number, families[place], f"label {number}", **drawn))
    return found


def random_densities(seed: int, features: int) -> dict[int, float]:
    """Some features have none."""
    random = np.random.default_rng((seed, 1))
    return {feature: round(random.random(), 2) for feature in range(features) if random.random() < 0.9}


def _random_figure(random: np.random.Generator, most_nulls: int, digits: int) -> dict[str, Any]:
    def maybe(value: float, chance: float = 0.8) -> float | None:
        return round(float(value), digits) if random.random() < chance else None

    value, half = maybe(random.normal(0.6, 0.2)), abs(random.normal(0.1, 0.05)) * (random.random() < 0.95)
    nulls = [maybe(null, 0.9) for null in random.normal(0.5, 0.1, int(random.integers(most_nulls // 2, most_nulls + 1)))]
    has_interval = value is not None and random.random() < 0.9
    return {
        "metric": str(random.choice(["balanced_accuracy", "pearson"], p=[0.8, 0.2])),
        "value": value,
        "lift": maybe(random.normal(0.1, 0.1)),
        "p_value": maybe(random.random()),
        "q_value": maybe(random.random()),
        "low": value - half if has_interval and value is not None else None,
        "high": value + half if has_interval and value is not None else None,
        "null_reason": REASONS[int(random.integers(len(REASONS)))],
        "null_values": tuple(nulls),
        "p_method": "rank" if sum(null is not None for null in nulls) >= 19 else None,
        "p_paired": maybe(random.random()),
        "shrunken_value": maybe(random.random()),
        "controls": tuple(_random_control(random, name, maybe) for name in ("baseline", "empty", "repeat", "judge_swap", "gold", "null")),
    }


def _random_control(random: np.random.Generator, name: str, maybe: Any) -> dict[str, Any]:
    counts = {"gold": ("tp", "fn", "tn", "fp")}.get(name, tuple(each for each, _, _ in TABLE))
    some = {each: int(random.integers(6)) for each in counts if random.random() < 0.9}
    return {"name": name, "value": maybe(random.random()), "lift": maybe(random.normal()), "details": {} if name in ("baseline", "empty") else some}


def _with_pooled_p(figures: Sequence[Figure], densities: Mapping[int, float]) -> list[Figure]:
    figures = [replace(figure, p_value=None, p_method=None) if scarce_kind_of(figure.null_reason) else figure for figure in figures]
    few = [figure for figure in figures if figure.p_method != "rank" and not scarce_kind_of(figure.null_reason)]
    most = max((len(figure.null_values) for figure in few), default=0)
    nulls = np.array([[*figure.null_values, *[None] * (most - len(figure.null_values))] for figure in few], dtype=np.float64).reshape(len(few), most)
    own = np.array([figure.value for figure in few], dtype=np.float64)
    rates = np.array([densities.get(figure.feature, 0.0) for figure in few], dtype=np.float64)
    p_values = pooled_p(own, nulls, strata_of(rates, 4)) if most else np.full(len(few), np.nan)
    enough = (~np.isnan(nulls)).sum() >= 200
    pooled = {figure.id: _number(p) for figure, p in zip(few, p_values, strict=True)}

    def adjusted(figure: Figure) -> Figure:
        is_paired = not enough and figure.p_paired is not None
        p = figure.p_paired if is_paired else pooled[figure.id]
        method = None if p is None else "paired" if is_paired else "pooled"
        return replace(figure, p_value=p, p_method=method, null_reason=None if p is not None and figure.lift is not None else figure.null_reason)

    return [adjusted(figure) if figure.id in pooled else figure for figure in figures]


def _shrunk(figures: Sequence[Figure]) -> Shrunken:
    values = np.array([figure.value for figure in figures], dtype=np.float64)
    widths = [None if figure.low is None or figure.high is None else figure.high - figure.low for figure in figures]
    return shrink(values, np.array(widths, dtype=np.float64) / (2 * 1.96))


def _compared(controls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    values = [control["value"] for control in controls if control["value"] is not None]
    lifts = [control["lift"] for control in controls if control["lift"] is not None]
    return {
        "features": len(lifts),
        "median": median(values) if values else None,
        "median_lift": median(lifts) if lifts else None,
        "better": sum(lift > 0 for lift in lifts),
    }


def _agreement(controls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    counts = {name: sum(int(control["details"].get(name, 0)) for control in controls) for name, _, _ in TABLE}
    values = [control["value"] for control in controls if control["value"] is not None]
    if not sum(counts.values()):
        return {"kappa": None, "median": median(values) if values else None, "compared": len(values)}
    first = np.repeat([one for _, one, _ in TABLE], list(counts.values()))
    second = np.repeat([other for _, _, other in TABLE], list(counts.values()))
    return {"kappa": cohens_kappa(first, second), "compared": len(first), "agreement": float((first == second).mean()), **counts}


def _gold(controls: Sequence[Mapping[str, Any]], values: Iterable[float | None]) -> dict[str, Any]:
    sensitivity, specificity = _rate(controls, "tp", "fn"), _rate(controls, "tn", "fp")
    answered = sum(int(control["details"].get(name, 0)) for control in controls for name in ("tp", "fn", "tn", "fp"))
    found: dict[str, Any] = {"answered": answered, "sensitivity": _told(sensitivity), "specificity": _told(specificity), "corrected_median": None}
    defined = [value for value in values if value is not None]
    if sensitivity is None or specificity is None or not defined:
        return found
    middle = median(defined)
    exact = (ErrorRate(middle, middle, middle), ErrorRate(1 - middle, 1 - middle, 1 - middle))
    corrected = corrected_balanced_accuracy(*exact, sensitivity, specificity)
    interval = None if corrected.bounds is None else list(corrected.bounds)
    return found | {"corrected_median": corrected.value, "corrected_interval": interval, "corrected_reason": corrected.reason}


def _rate(controls: Sequence[Mapping[str, Any]], right: str, wrong: str) -> ErrorRate | None:
    hits: list[bool] = []
    features: list[int] = []
    for control in controls:
        counts = [int(control["details"].get(name, 0)) for name in (right, wrong)]
        hits += [True] * counts[0] + [False] * counts[1]
        features += [control["feature"]] * sum(counts)
    if not hits:
        return None
    return ErrorRate.of(np.array(hits, dtype=np.bool_), np.unique(features, return_inverse=True)[1].astype(np.intp))


def _told(rate: ErrorRate | None) -> dict[str, float] | None:
    return None if rate is None else {"value": rate.value, "low": rate.low, "high": rate.high}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
