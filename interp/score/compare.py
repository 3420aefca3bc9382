"""The null of a score: the same items, answered with other features' explanations."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from interp.explain.base import Explanation
from interp.score.base import Interval, NullResult
from interp.stats.intervals import Bounds, jackknife_variance, mover_difference, within
from interp.stats.nulls import exceedance, mean_bounds

Floats = NDArray[np.float64]
METHOD = "mover-difference"
LEVEL = 0.95
FEWEST = 2
# What a figure can be: shares and areas, and correlations.
SHARE: Bounds = (0.0, 1.0)
CORRELATION: Bounds = (-1.0, 1.0)
# Half-width of a normal 95% interval in standard errors: a figure of 1 has no spread to be seen, but its interval has a lower end.
NORMAL = 1.96


def compare(
    own: float | None,
    own_bounds: Bounds | None,
    nulls: Floats,
    own_replicates: Floats,
    null_replicates: Floats,
    borrowed: Sequence[Explanation],
    span: Bounds = SHARE,
    error: float | None = None,
) -> NullResult:
    """Lift and p value of `own` over the figures `nulls` [R] (NaN: undefined) of the borrowed explanations.

    `own_replicates` [m] and `null_replicates` [m, R] are the same figures without each of the m documents: from them come the sampling variance of
    the nulls' mean and its correlation with the own figure. `span` is what the figure can be, `error` its standard error
    where the lower end of its interval is not 1.96 of them away.
    """
    features = tuple(explanation.feature for explanation in borrowed)
    defined = ~np.isnan(nulls)
    if defined.sum() < FEWEST:
        reason = f"{int(defined.sum())} of {len(nulls)} borrowed explanations have a defined figure on these items; {FEWEST} are needed."
        return NullResult(None, None, None, None, features, reason)
    nulls, null_replicates = nulls[defined], null_replicates[:, defined]
    value = float(nulls.mean())
    if own is None:
        return NullResult(value, None, None, None, features, "The score itself is undefined.")
    return NullResult(
        value=value,
        lift=own - value,
        lift_interval=_interval(own, own_bounds, nulls, own_replicates, null_replicates.mean(axis=1), span),
        p_value=exceedance(own, nulls, error if error is not None or own_bounds is None else (own - own_bounds[0]) / NORMAL),
        features=features,
    )


def _interval(own: float, own_bounds: Bounds | None, nulls: Floats, own_replicates: Floats, mean_replicates: Floats, span: Bounds) -> Interval | None:
    if own_bounds is None or np.isnan(mean_replicates).any() or len(mean_replicates) < FEWEST:
        return None
    # With two nulls the t interval of their mean is 12.7 standard errors each way, far past the ends of the figure's range.
    bounds = within(mean_bounds(nulls, float(jackknife_variance(mean_replicates)), len(mean_replicates) - 1, LEVEL), span)
    steady = own_replicates.std() < 1e-12 or mean_replicates.std() < 1e-12 or bool(np.isnan(own_replicates).any())
    correlation = 0.0 if steady else float(np.corrcoef(own_replicates, mean_replicates)[0, 1])
    low, high = mover_difference(own, own_bounds, float(nulls.mean()), bounds, correlation)
    return Interval(low, high, LEVEL, METHOD)
