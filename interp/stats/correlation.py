"""Compute the confidence interval of a correlation over tokens that come in documents, few of which decide it."""

import numpy as np
from numpy.typing import NDArray

from interp.stats.agreement import pearson_of
from interp.stats.intervals import Bounds, t_quantile
from interp.stats.ranking import midranks

Floats = NDArray[np.float64]
# With the feature firing in fewer documents nothing covered the true correlation often enough (docs/truth.md).
MIN_DOCUMENTS = 5
# How much stronger than the strongest document seen the one not seen is taken to be: the ratio of strongest and median to this power.
TAIL = 0.35
# So many documents not seen, each missed and each falsely predicted, bound how far the corrections for unequal documents may move the lower end.
MOST_UNSEEN = 3
LIMIT = 1 - 1e-9


def firing_documents(totals: Floats) -> int:
    """Count the documents in which the real activation is not 0 throughout, from their sums [m, 6] (`agreement.sums`)."""
    return int(np.count_nonzero(totals[:, 4] > 0))


def ranks_above_lowest(values: NDArray[np.floating]) -> Floats:
    """Return midranks less that of the lowest value, float64 [N]. Most tokens are silent: only the others are sorted."""
    ranks = np.zeros(len(values))
    above = values > values.min(initial=np.inf)
    ranks[above] = midranks(values[above].astype(np.float64)) + (np.count_nonzero(~above) - 1) / 2
    return ranks


def pearson_bounds(totals: Floats, level: float = 0.95) -> Bounds | None:
    """Return the interval for Pearson's r of predicted (x) and real (y) values from the sums `totals` [m, 6] of m documents.

    It is None with fewer than five documents that fire, and where r is undefined without one of them.

    On Fisher's z the spread hardly depends on r. It comes from leaving out each document, with two corrections for documents of unequal weight:
    Hall's transformation of Student's t for skewed influences, and degrees of freedom from their kurtosis (Satterthwaite). Both see only what is in
    the sample. Where activations have a heavy tail, most samples lack the few tokens that decide the true r and look harmless. So each end is moved
    by what one more document would do: to the lower end one that fires without being predicted, stronger than the strongest seen by as much as
    activations spread, or one that is predicted without firing; to the upper end one as strong as the strongest that is predicted rightly. So an
    interval has a width where all documents agree, too, and r lies within.
    Where one or two documents decide, these corrections alone would move the lower end of a high r below 0. They move it no further than Student's t
    without them does (with the error on z or, as z knows no bounds near r = 1, with that on r), or `MOST_UNSEEN` documents more of both harmful
    kinds, whichever is lower. That leaves the coverage as it is, and takes a quarter of the width.
    Sources: Fisher (Metron 1, 1921) for z; Efron (The Jackknife, the Bootstrap and Other Resampling Plans, 1982, ch. 3); Hall (J. R. Stat. Soc. B 54,
    1992, 221-228); Satterthwaite (Biometrics Bull. 2, 1946). The added documents are this module's own, after the pseudo-observations of Agresti and
    Coull (Am. Stat. 52, 1998); that the interval covers is measured, not proved (`python -m benches.truth --only pearson_coverage`).
    """
    if firing_documents(totals) < MIN_DOCUMENTS:
        return None
    whole = totals.sum(axis=0)
    # All samples at once: the whole one, those with one document more, those with one less.
    more = _documents_more(totals)
    harmed = MOST_UNSEEN * (more[0] + more[1])
    found = _z(pearson_of(np.concatenate([whole[None], whole + more, (whole + harmed)[None], whole - totals])))
    if np.isnan(found).any():
        return None
    z, missed, false, right, worst = found[:5].tolist()
    replicates = found[5:]
    down, up = _distances(replicates, level)
    low, high = z - down + min(0.0, missed - z, false - z), z + up + max(0.0, right - z)
    plain = z - t_quantile(level, float(len(replicates) - 1)) * min(_error(replicates), _error(np.tanh(replicates)) / (1 - np.tanh(z) ** 2))
    return float(np.tanh(max(low, min(worst, plain)))), float(np.tanh(high))


def pearson_error(correlation: float, replicates: Floats) -> float | None:
    """Return the standard error of a correlation toward 0, on Fisher's z and back; None where undefined.

    `replicates` [m] are its leave-one-document-out values. The lower end of the interval also covers what documents not seen may do.
    """
    if len(replicates) < 2 or np.isnan(replicates).any():
        return None
    return float(correlation - np.tanh(_z(np.array(correlation)) - _error(_z(replicates))))


def _error(replicates: Floats) -> float:
    """Return the jackknife standard error of a figure, from its m leave-one-out values."""
    count = len(replicates)
    return float(np.sqrt((count - 1) / count * ((replicates - replicates.mean()) ** 2).sum()))


def _z(correlation: Floats) -> Floats:
    z: Floats = np.arctanh(np.clip(correlation, -LIMIT, LIMIT))
    return z


def _distances(replicates: Floats, level: float) -> tuple[float, float]:
    """Return how far the ends lie below and above z, from its leave-one-out values [m].

    The inverse of Hall's t + s t^2 / 3 + s^2 t^3 / 27 + s / 6 at Student's t, times the error; s is the skewness of the influences over sqrt(m).
    Degrees of freedom are those of `influence_degrees`.
    """
    influences = replicates.mean() - replicates
    squares = influences**2
    total = float(squares.sum())
    if total <= 1e-24:
        return 0.0, 0.0
    count = len(influences)
    degrees = influence_degrees(replicates)
    critical, error = t_quantile(level, round(degrees, 1)), np.sqrt((count - 1) / count * total)
    skewness = float((influences**3).sum()) / total**1.5
    if abs(skewness) < 1e-6:
        return critical * error, critical * error
    below, above = (3 / skewness * (np.cbrt(1 + skewness * (t - skewness / 6)) - 1) for t in (critical, -critical))
    return float(below * error), float(-above * error)


def influence_degrees(replicates: Floats) -> float:
    """Return the degrees of freedom of a jackknife variance, from its m leave-one-out values.

    3 / kurtosis of the influences times m, less one: m - 1 for normal influences, few where few documents decide; 1 at least.
    """
    squares = (replicates.mean() - replicates) ** 2
    total, most = float(squares.sum()), float(len(replicates) - 1)
    if total <= 1e-24:
        return max(most, 1.0)
    return min(max(3 * total**2 / float((squares**2).sum()) - 1, 1.0), most)


def _documents_more(totals: Floats) -> Floats:
    """Return the sums of one more document that is missed, predicted falsely or predicted rightly, float64 [3, 6]."""
    energy = totals[:, 4][totals[:, 4] > 0]
    strongest = float(energy.max())
    real, predicted = np.sqrt(strongest), np.sqrt(totals[:, 3].max())
    rare = real * (strongest / float(np.median(energy))) ** (TAIL / 2)
    pairs = np.array([(0.0, rare), (predicted, 0.0), (predicted, real)])
    x, y = pairs.T
    return np.stack([np.full(3, totals[:, 0].mean()), x, y, x * x, y * y, x * y], axis=-1)
