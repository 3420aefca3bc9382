"""Compare a figure with those of nulls on the same items."""

import numpy as np
from numpy.typing import NDArray

from interp.stats.intervals import t_quantile

Floats = NDArray[np.float64]


# Degrees of freedom of the tail beyond the largest null. R - 1 would be right for normal nulls. But null figures are skewed (most score nothing, a
# few hit by chance), and then R - 1 calls one swap in fifty significant at 0.001.
TAIL_DEGREES = 3


def exceedance(own: float, nulls: Floats, error: float | None) -> float | None:
    """Return the one-sided p value of `own` among `nulls` [R]; None with fewer than two.

    Up to the largest null the p value is the rank, (1 + #{null >= own}) / (R + 1). It is exact for any distribution when a swapped explanation is
    exchangeable with the nulls, and conservative with ties. Beyond, ranks do not separate 0.7 from 0.9. There the tail of a predictive t, (x - mean)
    / sqrt(sd^2 (1 + 1/R) + error^2), continues from 1 / (R + 1) at the largest null, so that heavy tails of the nulls raise the p value. `error` is
    the standard error of `own`. It is included because nulls without hits hardly vary: one that hits by chance is far out on their scale. Where the
    error is unknown, or nothing varies, 1 / (R + 1) is the least possible p value. Sources: Phipson and Smyth (Stat. Appl. Genet. Mol. Biol. 9, 2010)
    for the rank; Geisser (Predictive Inference, 1993, ch. 2) for the t.
    """
    count = len(nulls)
    if count < 2:
        return None
    largest = float(nulls.max())
    if own <= largest:
        return (1 + int((nulls >= own).sum())) / (count + 1)
    spread = float(np.hypot(nulls.std(ddof=1) * np.sqrt(1 + 1 / count), error or 0.0))
    if error is None or spread <= 1e-12:
        return 1 / (count + 1)
    # Imported here as in `intervals`.
    from scipy import special

    mean = float(nulls.mean())
    tail = special.stdtr(TAIL_DEGREES, -(own - mean) / spread) / special.stdtr(TAIL_DEGREES, -(largest - mean) / spread)
    return float(tail) / (count + 1)


def mean_bounds(nulls: Floats, sampling_variance: float, degrees: float, level: float = 0.95) -> tuple[float, float]:
    """Return the interval for the nulls' true mean figure, from the sample `nulls` [R].

    Two sources of error add up. Documents are a sample (`sampling_variance` on `degrees` degrees of freedom, few where one document has many of the
    items: `intervals.cluster_degrees`). So are nulls (their variance / R on R - 1). Degrees of the sum are Welch and Satterthwaite's (Biometrics
    Bull. 2, 1946).
    """
    count = len(nulls)
    between = float(nulls.var(ddof=1)) / count if count > 1 else 0.0
    total = sampling_variance + between
    mean = float(nulls.mean())
    if total == 0:
        return mean, mean
    weights = sampling_variance**2 / max(degrees, 1) + between**2 / max(count - 1, 1)
    half = t_quantile(level, max(1.0, round(total**2 / weights, 1))) * float(np.sqrt(total))
    return mean - half, mean + half
