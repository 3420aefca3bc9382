"""Scores of a dictionary beside those of random directions, feature by feature."""

from dataclasses import dataclass

import numpy as np

from interp.analysis.score_table import Floats, Integers, Mask, ScoreTable
from interp.stats.intervals import t_quantile

# With fewer pairs a standard deviation says nothing.
FEWEST_PAIRS = 3


@dataclass(frozen=True, slots=True)
class ByFeature:
    """One scorer's values: features int [S], ascending, and values float64 [S], means over explainers."""

    features: Integers
    values: Floats


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Mean difference of values over features that both have, with its 95% interval.

    There are `pairs` of them; without an interval `why` says why. Feature i of the control fires as often as feature i of the dictionary, so that the
    two are a pair: mean ± t s / sqrt(n) of the differences (Student 1908), with features as the unit. Trap: features without a value on either side
    are in no pair.
    """

    pairs: int
    difference: float | None
    interval: tuple[float, float] | None
    why: str | None = None


def by_feature_of(table: ScoreTable, chosen: Mask) -> ByFeature:
    """Return the defined values of the chosen scores [N] by feature."""
    known = chosen & ~np.isnan(table.values)
    features, places = np.unique(table.features[known], return_inverse=True)
    return ByFeature(
        features, np.bincount(places, weights=table.values[known], minlength=len(features)) / np.bincount(places, minlength=len(features))
    )


def paired_difference(own: ByFeature, control: ByFeature) -> PairedDifference:
    """Return the mean difference between a dictionary's values and its control's."""
    both, first, second = np.intersect1d(own.features, control.features, assume_unique=True, return_indices=True)
    if not len(both):
        return PairedDifference(0, None, None, "No feature has a value in both.")
    differences = own.values[first] - control.values[second]
    mean = float(differences.mean())
    if len(both) < FEWEST_PAIRS:
        return PairedDifference(len(both), mean, None, f"Fewer than {FEWEST_PAIRS} features have a value in both.")
    half = t_quantile(0.95, len(both) - 1) * float(differences.std(ddof=1)) / len(both) ** 0.5
    return PairedDifference(len(both), mean, (mean - half, mean + half))
