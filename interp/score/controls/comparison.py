"""Compare a figure with its nulls and controls on the same items."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.domain.explanation import Explanation
from interp.domain.score import ControlResult, Interval, NullResult
from interp.score.base import LEVEL, Figure
from interp.stats.correlation import influence_degrees
from interp.stats.intervals import jackknife_variance, mover_difference, within
from interp.stats.nulls import exceedance, mean_bounds
from interp.stats.paired import MIN_DOCUMENTS, paired_p

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
METHOD = "mover-difference"
MIN_NULLS = 2
# With fewer nulls the least possible rank p value is above 0.05.
MIN_NULLS_FOR_P = 19
# Half-width of a normal 95% interval in standard errors. A figure of 1 has no spread, but its interval has a lower end.
NORMAL = 1.96
RANK = "rank"
STOPPED = "Asking stopped once the interval said enough; a paired p value needs a number of items that was fixed before."


@dataclass(frozen=True, slots=True)
class NullFigures:
    """Figures of R nulls beside the own one, on common answered items.

    values       float64 [R]     own figure minus the difference of both figures on the common items; NaN where undefined. It is the null's own figure
                                 where both answered the same items
    replicates   float64 [m, R]  the same without each of the m documents
    differences  float64 [m, R]  each document's part of the difference own minus null (they add up to it); None where no paired test is made
    degrees      degrees of freedom of a figure's variance over documents (`interp.stats.intervals.least_degrees`); None: computed from the replicates
    """

    values: Floats
    replicates: Floats
    differences: Floats | None
    degrees: float | None = None


def compare_with_nulls(own: Figure, nulls: NullFigures, borrowed: Sequence[Explanation]) -> NullResult:
    """Return lift and p values of `own` over the figures of the nulls.

    The sampling variance of the nulls' mean and its correlation with the own figure come from the replicates. With fewer than 19 defined nulls the
    summary computes the rank p value, from the nulls of all features.
    """
    features = tuple(explanation.feature for explanation in borrowed)
    values = tuple(None if np.isnan(value) else float(value) for value in nulls.values)
    is_defined = ~np.isnan(nulls.values)
    defined = nulls.values[is_defined]
    count = len(defined)
    mean = float(defined.mean()) if count >= MIN_NULLS else None
    if own.value is None or mean is None:
        reason = "The score itself is undefined."
        if count < MIN_NULLS:
            reason = f"{count} of {len(values)} borrowed explanations have a defined figure on these items; {MIN_NULLS} are needed."
        return NullResult(mean, None, None, None, features, reason, values, lift_reason=reason, p_paired_reason=reason)
    interval, why = _lift_interval(own, nulls, is_defined)
    error = own.error if own.error is not None or own.bounds is None else (own.value - own.bounds[0]) / NORMAL
    p_value = exceedance(own.value, defined, error) if count >= MIN_NULLS_FOR_P else None
    few = f"{count} defined nulls are too few for a rank p value of one feature; the summary makes it from the nulls of all."
    paired, no_pair = _paired(nulls.differences, is_defined)
    return NullResult(
        value=mean,
        lift=own.value - mean,
        lift_interval=interval,
        p_value=p_value,
        features=features,
        reason=None if p_value is not None else few,
        values=values,
        lift_reason=why,
        p_method=None if p_value is None else RANK,
        p_paired=paired,
        p_paired_reason=no_pair,
    )


def _paired(differences: Floats | None, defined: Mask) -> tuple[float | None, str | None]:
    if differences is None:
        return None, STOPPED
    found = paired_p(differences[:, defined])
    return found, None if found is not None else f"The items come from {len(differences)} documents; {MIN_DOCUMENTS} are needed."


def _lift_interval(own: Figure, nulls: NullFigures, defined: Mask) -> tuple[Interval | None, str | None]:
    """Return the interval of the lift, or why there is none.

    The mean without a document is that of the nulls that are defined without it. This is the exact jackknife of the figure that is shown.
    """
    if own.value is None or own.bounds is None:
        return None, "The score has no interval of its own."
    values, replicates = nulls.values[defined], nulls.replicates[:, defined]
    counts = (~np.isnan(replicates)).sum(axis=1)
    if len(counts) < MIN_NULLS:
        return None, "The items come from one document."
    if not counts.all():
        return None, "Without one of the documents no borrowed explanation has a defined figure."
    means = np.nansum(replicates, axis=1) / counts
    # With two nulls the t interval of their mean is 12.7 standard errors each way, far beyond the figure's range.
    # A mean of moved figures may lie beyond that range itself.
    mean = float(values.mean())
    span = (min(own.span[0], mean), max(own.span[1], mean))
    degrees = influence_degrees(means) if nulls.degrees is None else nulls.degrees
    bounds = within(mean_bounds(values, float(jackknife_variance(means)), degrees, LEVEL), span)
    low, high = mover_difference(own.value, own.bounds, mean, bounds, _correlation(own.replicates, means))
    return Interval(low, high, LEVEL, METHOD), None


def _correlation(one: Floats, other: Floats) -> float:
    """Return Pearson's r of two replicates [m]; 0 where undefined or constant."""
    both = np.stack([one, other])
    if both.shape[1] < 2 or np.isnan(both).any() or (both.std(axis=1) < 1e-12).any():
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def compare_with_control(name: str, own: Figure, control: Figure, details: dict[str, Any]) -> ControlResult:
    """Return the lift of `own` over a control's figure, both on common items."""
    if control.value is None or own.value is None:
        reason = control.reason if control.value is None else own.reason
        return ControlResult(name, control.value, None, None, reason or "The figure is undefined on the items that both answered.", details)
    interval = None
    if own.bounds is not None and control.bounds is not None:
        correlation = _correlation(own.replicates, control.replicates)
        interval = Interval(*mover_difference(own.value, own.bounds, control.value, control.bounds, correlation), LEVEL, METHOD)
    return ControlResult(name, control.value, own.value - control.value, interval, None, details)
