"""What only all scores of one scorer together can say: p and q values, shrunken values, and the judge's own reliability. Pure."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from interp.analysis.control_summary import median_of
from interp.analysis.score_table import PAIRED, POOLED, Floats, Integers, Mask, ScoreTable
from interp.score.controls.fewest import scarce_by, too_few
from interp.stats.multiplicity import benjamini_hochberg
from interp.stats.pooled import FEWEST, pooled_p, strata_of
from interp.stats.shrinkage import Shrunken, expected_overlap, shrink

# q at or below this counts as better than its null.
SIGNIFICANT = 0.05
# Features of like firing rate share their nulls.
STRATA = 4
WORST = 100

# Some of the figures: all of them as a slice, so that a column is not copied.
Members = Integers | slice


def concluded(figures: ScoreTable, densities: Floats | None) -> ScoreTable:
    """The figures with what their family as a whole gives them: pooled p values where `densities` [features] are given, q values, shrunken values.

    A family is the explanations of one explainer with the same settings, over the whole dictionary: one set of tests.
    """
    if densities is not None:
        figures = _with_pooled_p(figures, densities)
    q_values, shrunken = np.empty(len(figures)), np.empty(len(figures))
    for members in _families(figures):
        q_values[members] = benjamini_hochberg(figures.p_values[members])
        shrunken[members] = shrink(figures.values[members], figures.errors[members]).means
    return replace(figures, q_values=q_values, shrunken=shrunken)


def figures_of(figures: ScoreTable, chosen: Mask) -> dict[str, Any]:
    """One scorer's figures over a job's features, `chosen` [N]. Medians are over defined values; None where there are none.

    `ranking`: `reliability` is the share of the spread between features that is not noise, `worst_found` how many of the hundred features that look
    worst (fewer in a small job) are expected to be among the hundred worst.
    """
    values = _defined(figures.values, chosen)
    q_values = _defined(figures.q_values, chosen)
    first = int(chosen.argmax()) if chosen.any() else None
    return {
        "metric": None if first is None else figures.all_metrics[figures.metrics[first]],
        "scored": len(values),
        "undefined": int(np.count_nonzero(chosen)) - len(values),
        "median": median_of(values),
        "median_lift": median_of(_defined(figures.lifts, chosen)),
        "tested": len(q_values),
        "better_than_null": int(np.count_nonzero(q_values <= SIGNIFICANT)),
        "significant_at": SIGNIFICANT,
        "too_few": _too_few(figures, chosen),
        "ranking": ranking_of(figures, chosen),
        **figures.controls.summary(_balanced_accuracies(figures, chosen)),
    }


def _too_few(figures: ScoreTable, chosen: Mask) -> dict[str, Any] | None:
    places, counts = np.unique(figures.reasons[chosen], return_counts=True)
    return too_few({figures.all_reasons[place]: count for place, count in zip(places.tolist(), counts.tolist(), strict=True)})


def ranking_of(figures: ScoreTable, chosen: Mask) -> dict[str, Any]:
    """How much the order of the features means, over the first family that has figures among the `chosen` [N]."""
    members = chosen & (figures.families == figures.families[chosen.argmax()]) if chosen.any() else chosen
    found: Shrunken = shrink(figures.values[members], figures.errors[members])
    known = int(np.count_nonzero(~np.isnan(found.means)))
    worst = min(WORST, known // 2)
    overlap = expected_overlap(found.means, found.deviations, worst) if found.reliability is not None and worst else None
    return {"features": known, "reliability": found.reliability, "worst": worst, "worst_found": overlap}


def _families(figures: ScoreTable) -> Iterator[Members]:
    """The members of each family."""
    if len(figures.all_families) == 1:
        yield slice(None)
        return
    for family in range(len(figures.all_families)):
        yield np.flatnonzero(figures.families == family)


def _with_pooled_p(figures: ScoreTable, densities: Floats) -> ScoreTable:
    """p values of those that have too few nulls for one by rank. They say so by having no reason any more.

    From the nulls of all such features of a family where these are `FEWEST` or more, else the paired one. How many there are decides, and no figure.
    """
    nulls = figures.nulls
    p_values, p_methods = figures.p_values.copy(), figures.p_methods.copy()
    # Scores of too few windows have no p value: where each score has one null, figures alone would be ranked, theirs too.
    scarce = np.array([scarce_by(reason) is not None for reason in figures.all_reasons])[figures.reasons]
    p_values[scarce], p_methods[scarce] = np.nan, 0
    for family in range(len(figures.all_families)):
        few = nulls.few & ~scarce & (figures.families == family)
        matrix = nulls.matrix(few)
        strata = strata_of(densities[figures.features[few]], STRATA)
        pooled = pooled_p(figures.values[few], matrix, strata) if matrix.shape[1] else np.full(len(matrix), np.nan)
        is_paired = ~np.isnan(figures.paired[few]) & (np.count_nonzero(~np.isnan(matrix)) < FEWEST)
        p_values[few] = np.where(is_paired, figures.paired[few], pooled)
        p_methods[few] = np.where(np.isnan(p_values[few]), 0, np.where(is_paired, PAIRED, POOLED))
    says_enough = nulls.few & ~np.isnan(p_values) & ~np.isnan(figures.lifts)
    reasons = np.where(says_enough, np.int32(0), figures.reasons)
    return replace(figures, p_values=p_values, p_methods=p_methods, reasons=reasons)


def _balanced_accuracies(figures: ScoreTable, chosen: Mask) -> Floats:
    named = [place for place, metric in enumerate(figures.all_metrics) if metric == "balanced_accuracy"]
    return _defined(figures.values, chosen & np.isin(figures.metrics, named))


def _defined(values: Floats, chosen: Mask) -> Floats:
    return values[chosen & ~np.isnan(values)]
