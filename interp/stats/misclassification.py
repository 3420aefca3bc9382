"""Correct figures for a judge's error rates on questions of known answer."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from interp.stats.intervals import Bounds, clustered_proportion


@dataclass(frozen=True, slots=True)
class ErrorRate:
    """A share and its interval, of any level."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, hits: NDArray[np.bool_], clusters: NDArray[np.integer] | None = None, level: float = 0.95) -> "ErrorRate":
        """Return the rate of hits [N] in clusters [N], or unclustered. Raises ValueError without items."""
        groups = np.arange(len(hits)) if clusters is None else clusters
        low, high = clustered_proportion(hits, groups, level)
        return cls(float(hits.mean()), low, high)


@dataclass(frozen=True, slots=True)
class Corrected:
    """A corrected figure within 0..1 with its interval, or None and the reason."""

    value: float | None
    bounds: Bounds | None
    reason: str | None = None


def corrected_balanced_accuracy(recall: ErrorRate, false_alarm: ErrorRate, sensitivity: ErrorRate, specificity: ErrorRate) -> Corrected:
    """Return balanced accuracy corrected for the judge's `sensitivity` and `specificity` on known answers.

    It is 1/2 + (recall - false alarm) / 2J, with Youden's index J = sensitivity + specificity - 1. The judge's errors pull a figure toward 1/2, and
    the correction undoes that. Recall and false alarms share the judge's rates. So the interval is that of (recall - false alarm) / J, by MOVER, cut
    to 0..1. It is all of 0..1 where the judge's errors could explain any figure. Undefined where the judge is no better than chance. Sources: Rogan
    and Gladen (Am. J. Epidemiol. 107, 1978) for the figure; Fieller (J. R. Stat. Soc. B 16, 1954) and Donner and Zou (Stat. Methods Med. Res. 21,
    2012, section 2.3) for the interval of a ratio.
    """
    youden = sensitivity.value + specificity.value - 1
    if youden <= 0:
        reason = (
            f"On known answers the judge said yes to {sensitivity.value:.0%} of what is so and to {1 - specificity.value:.0%} of what is not, "
            "which is no better than chance: its answers cannot be corrected."
        )
        return Corrected(None, None, reason)
    gap = recall.value - false_alarm.value
    gap_low = gap - float(np.hypot(recall.value - recall.low, false_alarm.high - false_alarm.value))
    gap_high = gap + float(np.hypot(recall.high - recall.value, false_alarm.value - false_alarm.low))
    youden_down = float(np.hypot(sensitivity.value - sensitivity.low, specificity.value - specificity.low))
    youden_up = float(np.hypot(sensitivity.high - sensitivity.value, specificity.high - specificity.value))
    # A larger index lowers gap - ratio youden where the ratio is positive, a smaller one where it is negative.
    low = _root(youden**2 - (youden_up if gap_low > 0 else youden_down) ** 2, gap * youden, gap**2 - (gap - gap_low) ** 2, -1, -1.0)
    high = _root(youden**2 - (youden_down if gap_high > 0 else youden_up) ** 2, gap * youden, gap**2 - (gap_high - gap) ** 2, 1, 1.0)
    return _within((1 + gap / youden) / 2, ((1 + low) / 2, (1 + high) / 2))


def _root(square: float, linear: float, constant: float, side: int, edge: float) -> float:
    """Return the lower (-1) or upper (1) root, or `edge` if not convex."""
    if square <= 0:
        return edge
    return (linear + side * float(np.sqrt(max(linear**2 - square * constant, 0.0)))) / square


def _within(value: float, bounds: Bounds) -> Corrected:
    low, high = sorted(min(max(end, 0.0), 1.0) for end in bounds)
    clipped = min(max(value, 0.0), 1.0)
    return Corrected(clipped, (min(low, clipped), max(high, clipped)))
