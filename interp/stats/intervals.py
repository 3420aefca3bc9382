"""Compute confidence intervals for figures whose items are clustered by document."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bounds = tuple[float, float]


@lru_cache(maxsize=4096)
def t_quantile(level: float, degrees: float) -> float:
    """Return the two-sided critical value of Student's t."""
    # Imported here since it takes 0.1 s, and not every process computes an interval.
    from scipy import special

    return float(special.stdtrit(degrees, 0.5 + level / 2))


def wilson(share: float, count: float, critical: float) -> Bounds:
    """Return Wilson's score interval for a proportion of `count` (possibly effective) trials.

    It never has zero width and never leaves 0..1, also at shares of 0 and 1, where the normal interval collapses. Source: Wilson (J. Am. Stat. Assoc.
    22, 1927), eq. for p in |p̂ - p| = z sqrt(p(1-p)/n).
    """
    z2 = critical**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = critical / (1 + z2 / count) * np.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    # Rounding must not exclude the share itself.
    return max(0.0, min(share, float(middle - half))), min(1.0, max(share, float(middle + half)))


def clustered_proportion(hits: NDArray[np.bool_], clusters: NDArray[np.integer], level: float = 0.95) -> Bounds:
    """Return Wilson's interval at the effective size, for hits [N] in clusters [N].

    Clusters are small integers. The design effect is the ratio of the between-cluster (linearised) variance of the share to the binomial one. The
    effective size is N over it, at most N. A large cluster pulls the share toward its own and so seems to deviate little, and it alone decides the
    variance. `adjusted_residuals` and `cluster_degrees` correct for both, and change nothing with clusters of equal size. At shares of 0 and 1, where
    the variance is 0, a whole cluster counts as one trial. Source: Korn and Graubard (Survey Methodology 24, 1998), with Wilson's interval in place
    of Clopper-Pearson's: Dean and Pagano (J. Surv. Stat. Methodol. 3, 2015) found its coverage nearer to nominal. Raises ValueError without items.
    """
    if len(hits) == 0:
        raise ValueError("a proportion of nothing")
    share = float(hits.mean())
    sizes = np.bincount(clusters)
    residuals = np.asarray(np.bincount(clusters, weights=hits - share), dtype=np.float64)[sizes > 0]
    sizes = sizes[sizes > 0]
    count = int(sizes.sum())
    weights = sizes / count
    critical = t_quantile(level, cluster_degrees(weights))
    if share in (0.0, 1.0):
        return wilson(share, len(sizes), critical)
    variance = float((adjusted_residuals(residuals, weights) ** 2).sum()) / count**2
    effect = max(1.0, variance / (share * (1 - share) / count)) if len(sizes) > 1 else float(count)
    return wilson(share, count / effect, critical)


def weighted_proportion(hits: NDArray[np.bool_], weights: Floats, clusters: NDArray[np.intp], level: float = 0.95) -> Bounds:
    """Return Wilson's interval of a weighted share, Σ w·hit / Σ w, of clustered items.

    The weights [N], above 0, correct unequal chances of being drawn. The effective size is (Σ w)² / Σ w² over the design effect (Kish, Survey
    Sampling, 1965, ch. 11.7), so that few large weights count as few items. Raises ValueError without items.
    """
    if len(hits) == 0:
        raise ValueError("a proportion of nothing")
    total = float(weights.sum())
    share = min(1.0, float(weights[hits].sum()) / total)
    sizes = np.bincount(clusters, weights=weights)
    some = sizes > 0
    parts = sizes[some] / total
    critical, documents = t_quantile(level, cluster_degrees(parts)), 1 / float((parts**2).sum())
    if hits.all() or not hits.any():
        return wilson(float(hits.all()), documents, critical)
    residuals = np.bincount(clusters, weights=weights * (hits - share))[some] / total
    variance = float((adjusted_residuals(residuals, parts) ** 2).sum())
    effective = total**2 / float((weights**2).sum()) if len(parts) > 1 else 1.0
    return wilson(share, min(effective, share * (1 - share) / max(variance, 1e-12)), critical)


def adjusted_residuals(residuals: Floats, weights: Floats) -> Floats:
    """Return cluster totals of residuals, each over sqrt(1 - w), float64 [G].

    `weights` w [G] are the clusters' shares of the items, with sum 1. Source: bias-reduced linearisation (CR2) of Bell and McCaffrey (Survey
    Methodology 28, 2002) for a mean. With equal clusters the sum of squares is G / (G - 1) times the plain one.
    """
    scaled: Floats = residuals / np.sqrt(np.maximum(1 - weights, 1e-12))
    return scaled


def cluster_degrees(weights: Floats) -> float:
    """Return the degrees of freedom of a mean's variance, from cluster shares [G].

    They are Satterthwaite's 2 E(V)^2 / Var(V) for the sum of squares of adjusted residuals of independent items: 1 / (sum w^2 + (sum u)^2 - sum u^2),
    u = w^2 / (1 - w), rounded to a tenth. They are G - 1 for equal clusters, and at least 1. One document with half of the windows leaves 2 to 3,
    however many others there are. Source: Bell and McCaffrey (Survey Methodology 28, 2002); Imbens and Kolesar (Rev. Econ. Stat. 98, 2016), eq. 9.
    """
    if len(weights) < 2:
        return 1.0
    u = weights**2 / np.maximum(1 - weights, 1e-12)
    return max(1.0, round(1 / float((weights**2).sum() + u.sum() ** 2 - (u**2).sum()), 1))


def least_degrees(*sides: NDArray[np.integer] | Floats) -> float:
    """Return the least `cluster_degrees` of several sides; each is items by cluster [G]."""
    return min((cluster_degrees(side[side > 0] / side.sum()) for side in sides if side.any()), default=1.0)


def mover_mean(first: float, first_bounds: Bounds, second: float, second_bounds: Bounds) -> Bounds:
    """Return the interval for the mean of two independent figures, by MOVER.

    MOVER, the method of variance estimates recovery, keeps the asymmetry of both intervals. Source: Donner and Zou (Stat. Methods Med. Res. 21,
    2012), eq. 3.
    """
    low = np.hypot(first - first_bounds[0], second - second_bounds[0]) / 2
    high = np.hypot(first_bounds[1] - first, second_bounds[1] - second) / 2
    middle = (first + second) / 2
    return middle - float(low), middle + float(high)


def mover_difference(first: float, first_bounds: Bounds, second: float, second_bounds: Bounds, correlation: float) -> Bounds:
    """Return the interval for first - second, two correlated figures on the same items.

    It lies between the least and the greatest difference of values of the two intervals, so within the figures' range where they do. Source: Zou
    (Psychol. Methods 12, 2007), eq. 15; Donner and Zou (2012), eq. 7.
    """
    down, up = first - first_bounds[0], first_bounds[1] - first
    other_down, other_up = second - second_bounds[0], second_bounds[1] - second
    low = np.sqrt(max(0.0, down**2 + other_up**2 - 2 * correlation * down * other_up))
    high = np.sqrt(max(0.0, up**2 + other_down**2 - 2 * correlation * up * other_down))
    # This corrects rounding alone, since |correlation| is at most 1.
    least, most = first_bounds[0] - second_bounds[1], first_bounds[1] - second_bounds[0]
    return max(first - second - float(low), least), min(first - second + float(high), most)


def within(bounds: Bounds, span: Bounds) -> Bounds:
    """Return an interval clipped to the range `span` of its figure."""
    return min(max(bounds[0], span[0]), span[1]), min(max(bounds[1], span[0]), span[1])


def leave_one_out(totals: Floats, statistic: Callable[[Floats], Floats]) -> Floats:
    """Return a statistic of sums [m, ..., S] without each cluster, float64 [m, ...]."""
    return statistic(totals.sum(axis=0)[None] - totals)


def jackknife_variance(replicates: Floats) -> Floats:
    """Return the variance of a statistic, float64 [...], from its leave-one-out values [m, ...].

    Source: Efron and Stein (Ann. Stat. 9, 1981).
    """
    count = len(replicates)
    deviations = replicates - replicates.mean(axis=0)
    variance: Floats = (count - 1) / count * (deviations**2).sum(axis=0)
    return variance
