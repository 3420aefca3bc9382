"""Compute the confidence interval of a correlation over tokens in documents."""

import numpy as np
from numpy.typing import NDArray

from interp.stats.agreement import pearson_of
from interp.stats.intervals import Bounds, t_quantile
from interp.stats.ranking import midranks

Floats = NDArray[np.float64]
# With fewer firing documents no interval covered the true correlation often enough (docs/truth.md).
MIN_DOCUMENTS = 5
# The unseen document exceeds the strongest seen one by the ratio of strongest and median to this power.
TAIL = 0.35
# This many unseen missed documents, and as many falsely predicted ones, limit the corrections of the lower end.
MOST_UNSEEN = 3
LIMIT = 1 - 1e-9


def firing_documents(totals: Floats) -> int:
    """Count the documents with a non-zero activation, from `agreement.sums` [m, 6]."""
    return int(np.count_nonzero(totals[:, 4] > 0))


def ranks_above_lowest(values: NDArray[np.floating]) -> Floats:
    """Return midranks less the lowest value's, float64 [N], sorting only higher values."""
    ranks = np.zeros(len(values))
    above = values > values.min(initial=np.inf)
    ranks[above] = midranks(values[above].astype(np.float64)) + (np.count_nonzero(~above) - 1) / 2
    return ranks


def pearson_bounds(totals: Floats, level: float = 0.95) -> Bounds | None:
    """Return the interval for Pearson's r from the sums `totals` [m, 6] of documents.

    `totals` are `agreement.sums` of predicted and real values. None with fewer than five firing documents, and where r is undefined without one of
    them.

    On Fisher's z the spread hardly depends on r. It comes from leaving out each document, with two corrections for documents of unequal weight:
    Hall's transformation of Student's t for skewed influences, and degrees of freedom from their kurtosis (Satterthwaite). Both see only the sample.
    With heavy-tailed activations, most samples lack the few tokens that decide the true r. So each end is moved by the effect of one more document.
    For the lower end it fires without being predicted, stronger than the strongest seen by as much as activations spread, or it is predicted without
    firing. For the upper end it is as strong as the strongest and predicted rightly. So an interval always has a width, and contains r.
    Where one or two documents decide, these corrections alone would move the lower end of a high r below 0. So it goes no lower than the lower of two
    limits. One is Student's t without corrections (with the error on z or, near r = 1, that on r). The other is `MOST_UNSEEN` more documents of both
    harmful kinds. That keeps the coverage, and removes a quarter of the width. Sources: Fisher (Metron 1, 1921) for z; Efron (The Jackknife, the
    Bootstrap and Other Resampling Plans, 1982, ch. 3); Hall (J. R. Stat. Soc. B 54, 1992, 221-228); Satterthwaite (Biometrics Bull. 2, 1946). The
    added documents are this module's own, after the pseudo-observations of Agresti and Coull (Am. Stat. 52, 1998). The coverage is measured, not
    proved (`python -m benches.truth --only pearson_coverage`).
    """
    if firing_documents(totals) < MIN_DOCUMENTS:
        return None
    whole = totals.sum(axis=0)
    # All samples at once: the whole one, those with one more document, those with one less.
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
    """Return a correlation's standard error toward 0, by Fisher's z; None where undefined.

    `replicates` [m] are its leave-one-document-out values. The lower end of the interval also covers documents not seen.
    """
    if len(replicates) < 2 or np.isnan(replicates).any():
        return None
    return float(correlation - np.tanh(_z(np.array(correlation)) - _error(_z(replicates))))


def _error(replicates: Floats) -> float:
    """Return the jackknife standard error of a figure, from m leave-one-out values."""
    count = len(replicates)
    return float(np.sqrt((count - 1) / count * ((replicates - replicates.mean()) ** 2).sum()))


def _z(correlation: Floats) -> Floats:
    z: Floats = np.arctanh(np.clip(correlation, -LIMIT, LIMIT))
    return z


def _distances(replicates: Floats, level: float) -> tuple[float, float]:
    """Return the distances of the ends from z, from leave-one-out values [m].

    They are the inverse of Hall's t + s t^2 / 3 + s^2 t^3 / 27 + s / 6 at Student's t, times the error. s is the skewness of the influences over
    sqrt(m). Degrees of freedom are those of `influence_degrees`.
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
    """Return the degrees of freedom of a jackknife variance, from leave-one-out values [m].

    They are 3 m / kurtosis of the influences, less one, and at least 1: m - 1 for normal influences, few where few documents decide.
    """
    squares = (replicates.mean() - replicates) ** 2
    total, most = float(squares.sum()), float(len(replicates) - 1)
    if total <= 1e-24:
        return max(most, 1.0)
    return min(max(3 * total**2 / float((squares**2).sum()) - 1, 1.0), most)


def _documents_more(totals: Floats) -> Floats:
    """Return sums of a missed, a falsely and a rightly predicted document, float64 [3, 6]."""
    energy = totals[:, 4][totals[:, 4] > 0]
    strongest = float(energy.max())
    real, predicted = np.sqrt(strongest), np.sqrt(totals[:, 3].max())
    rare = real * (strongest / float(np.median(energy))) ** (TAIL / 2)
    pairs = np.array([(0.0, rare), (predicted, 0.0), (predicted, real)])
    x, y = pairs.T
    return np.stack([np.full(3, totals[:, 0].mean()), x, y, x * x, y * y, x * y], axis=-1)
