"""Adjust the scores of one scorer: pooled p values, q values, shrunken scores."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from interp.analysis.control_summary import median_of
from interp.analysis.score_table import PAIRED, POOLED, Floats, Integers, Mask, ScoreTable
from interp.score.controls.min_windows import scarce_kind_of, too_few
from interp.stats.multiplicity import benjamini_hochberg
from interp.stats.pooled import MIN_POOLED, pooled_p, strata_of
from interp.stats.shrinkage import Shrunken, expected_overlap, shrink

# A score with q at or below this is better than its null.
SIGNIFICANT = 0.05
# Features with similar firing rates share their nulls.
STRATA = 4
WORST = 100

# Rows of a table. All rows are a slice, so that no column is copied.
Members = Integers | slice


def adjusted(table: ScoreTable, densities: Floats | None) -> ScoreTable:
    """Return the table with q values, shrunken scores, and (with `densities` [features]) pooled p values.

    All are per family: the explanations of one explainer with the same settings, over the whole dictionary, are one set of tests.
    """
    if densities is not None:
        table = _with_pooled_p(table, densities)
    q_values, shrunken_values = np.empty(len(table)), np.empty(len(table))
    for members in _families(table):
        q_values[members] = benjamini_hochberg(table.p_values[members])
        shrunken_values[members] = shrink(table.values[members], table.errors[members]).means
    return replace(table, q_values=q_values, shrunken_values=shrunken_values)


def summary_of(table: ScoreTable, chosen: Mask) -> dict[str, Any]:
    """Return a summary of one scorer over a job's features, `chosen` [N].

    Medians are over defined values, None where there are none. `ranking`: `reliability` is the share of the spread between features that is not
    noise. `worst_found` is how many of the hundred features with the lowest scores (fewer in a small job) are expected to be among the hundred worst.
    """
    values = _defined(table.values, chosen)
    q_values = _defined(table.q_values, chosen)
    first = int(chosen.argmax()) if chosen.any() else None
    places, counts = np.unique(table.reasons[chosen], return_counts=True)
    has_balanced_accuracy = np.array([metric == "balanced_accuracy" for metric in table.all_metrics], np.bool_)[table.metrics]
    return {
        "metric": None if first is None else table.all_metrics[table.metrics[first]],
        "scored": len(values),
        "undefined": int(np.count_nonzero(chosen)) - len(values),
        "median": median_of(values),
        "median_lift": median_of(_defined(table.lifts, chosen)),
        "tested": len(q_values),
        "better_than_null": int(np.count_nonzero(q_values <= SIGNIFICANT)),
        "significant_at": SIGNIFICANT,
        "too_few": too_few({table.all_reasons[place]: count for place, count in zip(places.tolist(), counts.tolist(), strict=True)}),
        "ranking": ranking_of(table, chosen),
        **table.controls.summary(_defined(table.values, chosen & has_balanced_accuracy)),
    }


def ranking_of(table: ScoreTable, chosen: Mask) -> dict[str, Any]:
    """Return how reliable the features' order is, for the first family in `chosen` [N]."""
    members = chosen & (table.families == table.families[chosen.argmax()]) if chosen.any() else chosen
    found: Shrunken = shrink(table.values[members], table.errors[members])
    known = int(np.count_nonzero(~np.isnan(found.means)))
    worst = min(WORST, known // 2)
    overlap = expected_overlap(found.means, found.deviations, worst) if found.reliability is not None and worst else None
    return {"features": known, "reliability": found.reliability, "worst": worst, "worst_found": overlap}


def _families(table: ScoreTable) -> Iterator[Members]:
    if table.family_count == 1:
        yield slice(None)
        return
    for family in range(table.family_count):
        yield np.flatnonzero(table.families == family)


def _with_pooled_p(table: ScoreTable, densities: Floats) -> ScoreTable:
    """Return the table with p values for scores with too few nulls for ranks.

    These lose their reason. Their p values are pooled from the nulls of all such features of a family, where these are `MIN_POOLED` or more, else
    paired. The number decides, never a figure.
    """
    nulls = table.nulls
    p_values, p_methods = table.p_values.copy(), table.p_methods.copy()
    # Scores of too few windows have no p value. Where each score has one null, raw figures, theirs included, would be ranked.
    scarce = np.array([scarce_kind_of(reason) is not None for reason in table.all_reasons])[table.reasons]
    p_values[scarce], p_methods[scarce] = np.nan, 0
    for family in range(table.family_count):
        few = nulls.few & ~scarce & (table.families == family)
        matrix = nulls.matrix(few)
        strata = strata_of(densities[table.features[few]], STRATA)
        pooled = pooled_p(table.values[few], matrix, strata) if matrix.shape[1] else np.full(len(matrix), np.nan)
        is_paired = ~np.isnan(table.paired[few]) & (np.count_nonzero(~np.isnan(matrix)) < MIN_POOLED)
        p_values[few] = np.where(is_paired, table.paired[few], pooled)
        p_methods[few] = np.where(np.isnan(p_values[few]), 0, np.where(is_paired, PAIRED, POOLED))
    says_enough = nulls.few & ~np.isnan(p_values) & ~np.isnan(table.lifts)
    reasons = np.where(says_enough, np.int32(0), table.reasons)
    return replace(table, p_values=p_values, p_methods=p_methods, reasons=reasons)


def _defined(values: Floats, chosen: Mask) -> Floats:
    return values[chosen & ~np.isnan(values)]
