"""Compare a score with its null: the same items, answered with other features' explanations."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from interp.domain.explanation import Explanation
from interp.domain.score import Interval, NullResult
from interp.stats.correlation import influence_degrees
from interp.stats.intervals import Bounds, jackknife_variance, mover_difference, within
from interp.stats.nulls import exceedance, mean_bounds
from interp.stats.paired import FEWEST_DOCUMENTS, paired_p

Floats = NDArray[np.float64]
METHOD = "mover-difference"
LEVEL = 0.95
FEWEST = 2
# What a figure can be: shares and areas, and correlations.
SHARE: Bounds = (0.0, 1.0)
CORRELATION: Bounds = (-1.0, 1.0)
# With fewer nulls the least rank p value is above 0.05, and what a feature's own nulls say by rank is not worth saying.
ENOUGH_FOR_P = 19
# Half-width of a normal 95% interval in standard errors: a figure of 1 has no spread to be seen, but its interval has a lower end.
NORMAL = 1.96
RANK = "rank"
STOPPED = "Asking stopped once the interval said enough; a paired p value needs a number of items that was fixed before."


@dataclass(frozen=True, slots=True)
class Rivals:
    """R borrowed explanations beside the own one, each on the items that both answered.

    values       float64 [R]     own figure minus the difference of both figures on those items; NaN where undefined. The borrowed figure itself
                                 where both answered the same items
    replicates   float64 [m, R]  the same without each of the m documents
    differences  float64 [m, R]  each document's part of the difference own minus borrowed (they add up to it); None where no paired test is made
    degrees      degrees of freedom of a figure's variance over documents (`interp.stats.intervals.fewest_degrees`); None: read off the replicates
    """

    values: Floats
    replicates: Floats
    differences: Floats | None
    degrees: float | None = None


def on_both(
    own: float | None, own_replicates: Floats, own_both: Floats, own_both_replicates: Floats, nulls: Floats, replicates: Floats
) -> tuple[Floats, Floats]:
    """`values` and `replicates` of Rivals from figures on the items that both answered: own_both and nulls [R], with replicates [m, R].

    What one explanation was not answered on says nothing of the other, so a borrowed explanation counts by how far it is behind on common items.
    """
    if own is None:
        return nulls, replicates
    return _moved(np.float64(own), own_both, nulls), _moved(own_replicates[:, None], own_both_replicates, replicates)


def _moved(own: Floats | np.float64, own_both: Floats, nulls: Floats) -> Floats:
    # Where nothing moves the figure stays as it is, to the bit: ties are counted.
    moved: Floats = np.where(own == own_both, nulls, own - (own_both - nulls))
    return moved


def compare(
    own: float | None,
    own_bounds: Bounds | None,
    own_replicates: Floats,
    rivals: Rivals,
    borrowed: Sequence[Explanation],
    span: Bounds = SHARE,
    error: float | None = None,
) -> NullResult:
    """Lift and p values of `own` over the figures of the borrowed explanations.

    From `own_replicates` [m] and the rivals' come the sampling variance of the nulls' mean and its correlation with the own figure. `span` is what
    the figure can be, `error` its standard error where the lower end of its interval is not 1.96 of them away. With fewer than 19 defined nulls the
    rank p value is left to the summary, which has the nulls of all features.
    """
    features = tuple(explanation.feature for explanation in borrowed)
    values = tuple(None if np.isnan(value) else float(value) for value in rivals.values)
    defined = ~np.isnan(rivals.values)
    count = int(defined.sum())
    if own is None or count < FEWEST:
        reason = f"{count} of {len(values)} borrowed explanations have a defined figure on these items; {FEWEST} are needed."
        reason = reason if count < FEWEST else "The score itself is undefined."
        mean = float(rivals.values[defined].mean()) if count >= FEWEST else None
        return NullResult(mean, None, None, None, features, reason, values, lift_reason=reason, p_paired_reason=reason)
    nulls = rivals.values[defined]
    interval, why = _interval(own, own_bounds, nulls, own_replicates, rivals.replicates[:, defined], span, rivals.degrees)
    error = error if error is not None or own_bounds is None else (own - own_bounds[0]) / NORMAL
    p_value = exceedance(own, nulls, error) if count >= ENOUGH_FOR_P else None
    few = f"{count} defined nulls are too few for a rank p value of one feature; the summary makes it from the nulls of all."
    paired, no_pair = _paired(rivals.differences, defined)
    return NullResult(
        value=float(nulls.mean()),
        lift=own - float(nulls.mean()),
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


def _paired(differences: Floats | None, defined: NDArray[np.bool_]) -> tuple[float | None, str | None]:
    if differences is None:
        return None, STOPPED
    found = paired_p(differences[:, defined])
    return found, None if found is not None else f"The items come from {len(differences)} documents; {FEWEST_DOCUMENTS} are needed."


def _interval(
    own: float, own_bounds: Bounds | None, nulls: Floats, own_replicates: Floats, null_replicates: Floats, span: Bounds, degrees: float | None
) -> tuple[Interval | None, str | None]:
    """The lift's interval, or why there is none.

    The mean without a document is that of the nulls that are defined without it, just as the mean itself is of those that are defined: the exact
    jackknife of the figure that is shown.
    """
    if own_bounds is None:
        return None, "The score has no interval of its own."
    counts = (~np.isnan(null_replicates)).sum(axis=1)
    if len(counts) < FEWEST:
        return None, "The items come from one document."
    if not counts.all():
        return None, "Without one of the documents no borrowed explanation has a defined figure."
    means = np.nansum(null_replicates, axis=1) / counts
    # With two nulls the t interval of their mean is 12.7 standard errors each way, far past the ends of the figure's range.
    # A mean of moved figures may lie beyond them itself.
    mean = float(nulls.mean())
    span = (min(span[0], mean), max(span[1], mean))
    degrees = influence_degrees(means) if degrees is None else degrees
    bounds = within(mean_bounds(nulls, float(jackknife_variance(means)), degrees, LEVEL), span)
    steady = own_replicates.std() < 1e-12 or means.std() < 1e-12 or bool(np.isnan(own_replicates).any())
    correlation = 0.0 if steady else float(np.corrcoef(own_replicates, means)[0, 1])
    low, high = mover_difference(own, own_bounds, mean, bounds, correlation)
    return Interval(low, high, LEVEL, METHOD), None
