"""What only all scores of one scorer together can say: p and q values, shrunken values, and the judge's own reliability. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.stats.chance import cohens_kappa
from interp.stats.misclassification import Rate, corrected_balanced_accuracy
from interp.stats.multiplicity import benjamini_hochberg
from interp.stats.pooled import pooled_p, strata_of
from interp.stats.shrinkage import expected_overlap, shrink
from interp.store.scores import Figure

# q at or below this counts as better than its null.
SIGNIFICANT = 0.05
# With so many nulls of its own a feature has a p value of its own, see `interp.score.paired`.
ENOUGH_NULLS = 19
# Features of like firing rate share their nulls.
STRATA = 4
# Half-width of a 95% interval in standard errors.
NORMAL = 1.96
WORST = 100
TABLE = (("yes_yes", 1, 1), ("yes_no", 1, 0), ("no_yes", 0, 1), ("no_no", 0, 0))


def concluded(figures: Sequence[Figure], densities: Mapping[int, float] | None) -> list[Figure]:
    """The figures with what their family as a whole gives them: pooled p values where `densities` (by feature) are given, q values, shrunken values.

    A family is the explanations of one explainer with the same settings, over the whole dictionary: one set of tests.
    """
    done: dict[int, Figure] = {}
    for family in dict.fromkeys(figure.family for figure in figures):
        members = [figure for figure in figures if figure.family == family]
        if densities is not None:
            members = _with_pooled_p(members, densities)
        q_values = benjamini_hochberg([figure.p_value for figure in members])
        shrunken, _, _ = _shrunk(members)
        for figure, q, value in zip(members, q_values, shrunken, strict=True):
            done[figure.id] = replace(figure, q_value=_number(q), shrunken=_number(value))
    return [done[figure.id] for figure in figures]


def figures_of(figures: Sequence[Figure]) -> dict[str, Any]:
    """One scorer's figures over a job's features. Medians are over defined values; None where there are none.

    `ranking`: `reliability` is the share of the spread between features that is not noise, `worst_found` how many of the hundred features that look
    worst (fewer in a small job) are expected to be among the hundred worst.
    """
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
        "better_than_null": sum(q <= SIGNIFICANT for q in tested),
        "significant_at": SIGNIFICANT,
        "ranking": ranking_of(figures),
        **controls_of(figures),
    }


def ranking_of(figures: Sequence[Figure]) -> dict[str, Any]:
    """How much the order of the features means, over the first family that has figures."""
    families = list(dict.fromkeys(figure.family for figure in figures))
    members = [figure for figure in figures if figure.family == families[0]] if families else []
    values, deviations, reliability = _shrunk(members)
    known = int((~np.isnan(values)).sum())
    worst = min(WORST, known // 2)
    found = expected_overlap(values, deviations, worst) if reliability is not None and worst else None
    return {"features": known, "reliability": reliability, "worst": worst, "worst_found": found}


def controls_of(figures: Sequence[Figure]) -> dict[str, Any]:
    """The controls of all features taken together, by name; those that the job did without are left out."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for figure in figures:
        for control in figure.controls:
            by_name.setdefault(control["name"], []).append(control | {"feature": figure.feature})
    found: dict[str, Any] = {name: _compared(by_name[name]) for name in ("empty", "baseline") if name in by_name}
    found |= {name: _agreement(by_name[name]) for name in ("repeat", "judge_swap") if name in by_name}
    if "gold" in by_name:
        found["gold"] = _gold(by_name["gold"], [figure.value for figure in figures if figure.metric == "balanced_accuracy"])
    return found


def _with_pooled_p(figures: Sequence[Figure], densities: Mapping[int, float]) -> list[Figure]:
    """p values from the nulls of all features, for those that have too few of their own. They say so by having no reason any more."""
    few = [figure for figure in figures if sum(value is not None for value in figure.null_values) < ENOUGH_NULLS]
    most = max((len(figure.null_values) for figure in few), default=0)
    nulls = np.array([[*figure.null_values, *[None] * (most - len(figure.null_values))] for figure in few], dtype=np.float64).reshape(len(few), most)
    own = np.array([figure.value for figure in few], dtype=np.float64)
    rates = np.array([densities.get(figure.feature, 0.0) for figure in few], dtype=np.float64)
    p_values = pooled_p(own, nulls, strata_of(rates, STRATA)) if most else np.full(len(few), np.nan)
    pooled = {figure.id: _number(p) for figure, p in zip(few, p_values, strict=True)}
    return [
        figure
        if figure.id not in pooled
        else replace(
            figure, p_value=pooled[figure.id], null_reason=None if pooled[figure.id] is not None and figure.lift is not None else figure.null_reason
        )
        for figure in figures
    ]


def _shrunk(figures: Sequence[Figure]) -> tuple[NDArray[np.float64], NDArray[np.float64], float | None]:
    """Posterior means and deviations [F], and the reliability; errors come from the intervals' widths."""
    values = np.array([figure.value for figure in figures], dtype=np.float64)
    widths = [None if figure.low is None or figure.high is None else figure.high - figure.low for figure in figures]
    found = shrink(values, np.array(widths, dtype=np.float64) / (2 * NORMAL))
    return found.means, found.deviations, found.reliability


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
    """One kappa over the answers to all features: of a handful of answers a feature, each kappa alone says little.

    Where answers are graded, so that a feature's figure is no kappa of counts, the median of the features' figures.
    """
    counts = {name: sum(int(control["details"].get(name, 0)) for control in controls) for name, _, _ in TABLE}
    values = [control["value"] for control in controls if control["value"] is not None]
    if not sum(counts.values()):
        return {"kappa": None, "median": median(values) if values else None, "compared": len(values)}
    first = np.repeat([one for _, one, _ in TABLE], list(counts.values()))
    second = np.repeat([other for _, _, other in TABLE], list(counts.values()))
    return {"kappa": cohens_kappa(first, second), "compared": len(first), "agreement": float((first == second).mean()), **counts}


def _gold(controls: Sequence[Mapping[str, Any]], values: Iterable[float | None]) -> dict[str, Any]:
    """The judge's own rates on known answers, clustered by feature, and the median of balanced accuracy as it would be if it never misread.

    Rogan and Gladen's correction of the median, see `interp.stats.misclassification`; its interval holds the uncertainty of the judge's rates alone.
    """
    sensitivity, specificity = _rate(controls, "tp", "fn"), _rate(controls, "tn", "fp")
    answered = sum(int(control["details"].get(name, 0)) for control in controls for name in ("tp", "fn", "tn", "fp"))
    found: dict[str, Any] = {"answered": answered, "sensitivity": _told(sensitivity), "specificity": _told(specificity), "corrected_median": None}
    defined = [value for value in values if value is not None]
    if sensitivity is None or specificity is None or not defined:
        return found
    middle = median(defined)
    exact = (Rate(middle, middle, middle), Rate(1 - middle, 1 - middle, 1 - middle))
    corrected = corrected_balanced_accuracy(*exact, sensitivity, specificity)
    interval = None if corrected.bounds is None else list(corrected.bounds)
    return found | {"corrected_median": corrected.value, "corrected_interval": interval, "corrected_reason": corrected.reason}


def _rate(controls: Sequence[Mapping[str, Any]], right: str, wrong: str) -> Rate | None:
    hits: list[bool] = []
    features: list[int] = []
    for control in controls:
        counts = [int(control["details"].get(name, 0)) for name in (right, wrong)]
        hits += [True] * counts[0] + [False] * counts[1]
        features += [control["feature"]] * sum(counts)
    if not hits:
        return None
    return Rate.of(np.array(hits, dtype=np.bool_), np.unique(features, return_inverse=True)[1].astype(np.intp))


def _told(rate: Rate | None) -> dict[str, float] | None:
    return None if rate is None else {"value": rate.value, "low": rate.low, "high": rate.high}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
