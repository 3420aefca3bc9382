"""Measure how well grades rank firing items above silent ones; undefined is None."""

import numpy as np
from numpy.typing import NDArray

from interp.stats.intervals import Bounds, adjusted_residuals, cluster_degrees, t_quantile

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
STEPS = 60


def auroc(scores: Floats, truth: Mask) -> float | None:
    """Return the area under the ROC curve; None without firing or silent items.

    It is the chance that a firing item is graded above a silent one, with ties counting half. `scores` float [N], higher is more firing; `truth` bool
    [N]. Source: Mann and Whitney (Ann. Math. Stat. 18, 1947), by midranks.
    """
    firing = int(truth.sum())
    silent = len(truth) - firing
    if not firing or not silent:
        return None
    ranks = midranks(scores)
    return float((ranks[truth].sum() - firing * (firing + 1) / 2) / (firing * silent))


def midranks(values: Floats) -> Floats:
    """Return ranks from 1, float64 [N], with ties averaged; all NaN with any NaN.

    The same as `scipy.stats.rankdata`, whose package takes a second to import in every process that serves or scores.
    """
    if np.isnan(values).any():
        return np.full(len(values), np.nan)
    ordered = np.sort(values)
    return (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right") + 1) / 2


def auprc(scores: Floats, truth: Mask) -> float | None:
    """Return average precision; None without a firing item.

    It is the sum over distinct grades, from the highest, of precision times the gain in recall. It is not interpolated, since that would be too
    optimistic (Davis and Goadrich, ICML 2006). Tied grades are one point. Same as scikit-learn's `average_precision_score`.
    """
    firing = int(truth.sum())
    if not firing:
        return None
    order = np.argsort(-scores, kind="stable")
    graded, hits = scores[order], np.cumsum(truth[order])
    last = np.append(np.flatnonzero(graded[1:] != graded[:-1]), len(graded) - 1)
    precision = hits[last] / (last + 1)
    return float((precision * np.diff(hits[last], prepend=0)).sum() / firing)


def auroc_replicates(scores: Floats, truth: Mask, clusters: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Return E AUROCs, float64 [E], and replicates without each cluster, [m, E]; NaN where undefined.

    scores float [E, N], truth bool [N], clusters intp [N] (0 to m - 1).
    """
    count = int(clusters.max(initial=-1)) + 1
    firing, silent = np.eye(count)[clusters[truth]], np.eye(count)[clusters[~truth]]
    figures, replicates = np.full(len(scores), np.nan), np.full((count, len(scores)), np.nan)
    kept = (firing.sum() - firing.sum(axis=0)) * (silent.sum() - silent.sum(axis=0))
    for place, row in enumerate(scores):
        wins = pairs_won(row[truth], row[~truth])
        blocks = firing.T @ wins @ silent
        left = blocks.sum() - blocks.sum(axis=0) - blocks.sum(axis=1) + np.diag(blocks)
        with np.errstate(divide="ignore", invalid="ignore"):
            figures[place] = blocks.sum() / wins.size if wins.size else np.nan
            replicates[:, place] = np.where(kept > 0, left / kept, np.nan)
    return figures, replicates


def auroc_error(scores: Floats, truth: Mask, clusters: NDArray[np.integer]) -> float | None:
    """Return the standard error of the AUROC of clustered items [N].

    It is that of DeLong's structural components, found by ranks in O(N log N) and summed within clusters: sqrt(G / (G - 1) sum of squared totals)
    over G clusters. None unless both firing and silent items are in two clusters or more, and without spread (an AUROC of 0 or 1). Sources: DeLong,
    DeLong and Clarke-Pearson (Biometrics 44, 1988); Obuchowski (Biometrics 53, 1997, eq. 3-5) for clusters; Sun and Xu (IEEE Signal Process. Lett.
    21, 2014) for ranks.
    """
    area = auroc(scores, truth)
    _, groups = np.unique(clusters, return_inverse=True)
    if area is None or min(len(np.unique(groups[side])) for side in (truth, ~truth)) < 2:
        return None
    ranks, count = midranks(scores), len(scores)
    totals = np.zeros(int(groups.max()) + 1)
    for side in (truth, ~truth):
        size = int(side.sum())
        # The chance that an item of the other side is below this one; for silent items, the AUROC's part is that of being above.
        below = (ranks[side] - midranks(scores[side])) / (count - size)
        part = below - area if side is truth else 1 - below - area
        totals += np.bincount(groups[side], weights=part / size, minlength=len(totals))
    error = float(np.sqrt(len(totals) / (len(totals) - 1) * (totals**2).sum()))
    return error if error > 1e-12 else None


def auroc_bounds(scores: Floats, truth: Mask, clusters: NDArray[np.intp], level: float = 0.95) -> Bounds | None:
    """Return the interval for the AUROC of clustered items [N]; None where undefined.

    It lies within 0..1 and never has zero width. It holds all values A with |Â - A| <= t sqrt(V(A)): a score interval, as Wilson's is for a share, so
    that a perfect grading has a lower end. V is Hanley and McNeil's variance, A(1-A)(1 + (n-1)((1-A)/(2-A) + A/(1+A))) / (m k), n = (m+k)/2, times
    the ratio of the sample's variance to V(Â). The sample's variance is that of DeLong's structural components, summed within clusters. Where it is 0
    (Â of 0 or 1), clusters count in place of items.

    Â is a mean over firing and one over silent items. Each is corrected for large clusters as any mean (`adjusted_residuals`), and Student's t has
    the lower of their degrees of freedom (`cluster_degrees`). Sources: Newcombe (Stat. Med. 25, 2006, 559-573, method 5) for the score interval;
    Obuchowski (Biometrics 53, 1997, eq. 3-5) for clusters; Bell and McCaffrey (Survey Methodology 28, 2002) for large ones.
    """
    area = auroc(scores, truth)
    if area is None:
        return None
    firing, silent = (np.bincount(clusters[side], minlength=int(clusters.max()) + 1) for side in (truth, ~truth))
    counts = (int(firing.sum()), int(silent.sum()))
    if 0 < area < 1 and np.count_nonzero(firing + silent) > 1:
        seen, degrees = _clustered_variance(scores, truth, clusters, firing / counts[0], silent / counts[1])
        # A sample's variance has no upper limit; its lower limit is that of independent binary grades.
        scale = max(seen, _least_variance(area, *counts)) / _variance(area, *counts)
    else:
        both = (firing / counts[0] + silent / counts[1]) / 2
        counts = (int(np.count_nonzero(firing)), int(np.count_nonzero(silent)))
        degrees, scale = cluster_degrees(both[both > 0]), 1.0
    factor = t_quantile(level, degrees) ** 2 * scale
    return _edge(area, 0.0, *counts, factor), _edge(area, 1.0, *counts, factor)


def pairs_won(firing: Floats, silent: Floats) -> Floats:
    """Return 1 where the firing item is graded higher, 1/2 for ties, float64 [P, Q]."""
    return np.greater.outer(firing, silent) + 0.5 * np.equal.outer(firing, silent)


def _clustered_variance(scores: Floats, truth: Mask, clusters: NDArray[np.intp], firing: Floats, silent: Floats) -> tuple[float, float]:
    """Return the variance of the AUROC over mixed clusters, and its degrees of freedom.

    It is the sum of squared cluster totals of all components. `firing` and `silent` [G] are the clusters' shares of those items.
    """
    wins = pairs_won(scores[truth], scores[~truth])
    area = float(wins.mean())
    totals = [
        adjusted_residuals(np.bincount(clusters[side], weights=means - area, minlength=len(shares)) / len(means), shares)
        for side, means, shares in ((truth, wins.mean(axis=1), firing), (~truth, wins.mean(axis=0), silent))
    ]
    # Welch and Satterthwaite's degrees cover less: the larger part's sample variance is small just when it is wrong.
    degrees = min(cluster_degrees(shares[shares > 0]) for shares in (firing, silent))
    return float(((totals[0] + totals[1]) ** 2).sum()), degrees


def _variance(area: float, firing: int, silent: int) -> float:
    """Return Hanley and McNeil's variance in Newcombe's symmetric form."""
    mean = (firing + silent) / 2
    return area * (1 - area) * (1 + (mean - 1) * ((1 - area) / (2 - area) + area / (1 + area))) / (firing * silent)


def _least_variance(area: float, firing: int, silent: int) -> float:
    """Return half the variance of yes/no grades with equal accuracy on both sides."""
    return area * (1 - area) * (1 / firing + 1 / silent) / 8


def _edge(area: float, end: float, firing: int, silent: int, factor: float) -> float:
    """Return where (Â - A)^2 = factor V(A) between the AUROC and `end`, by bisection."""
    inside, outside = area, end
    for _ in range(STEPS):
        middle = (inside + outside) / 2
        if (area - middle) ** 2 <= factor * _variance(middle, firing, silent):
            inside = middle
        else:
            outside = middle
    return outside if abs(outside - end) > 1e-12 else end
