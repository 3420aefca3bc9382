"""What a judge's answers would be if it never misread: correction by its rates on questions of known answer."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from interp.stats.intervals import Bounds, clustered_counts, clustered_proportion


@dataclass(frozen=True, slots=True)
class ErrorRate:
    """A share and its interval, of whatever level."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, hits: NDArray[np.bool_], clusters: NDArray[np.intp] | None = None, level: float = 0.95) -> "ErrorRate":
        """From hits [N] in clusters [N] (None: each alone). Raises ValueError on no hits at all to count."""
        groups = np.arange(len(hits)) if clusters is None else clusters
        low, high = clustered_proportion(hits, groups, level)
        return cls(float(hits.mean()), low, high)

    @classmethod
    def of_counts(cls, hits: NDArray[np.integer], misses: NDArray[np.integer], clusters: NDArray[np.integer], level: float = 0.95) -> "ErrorRate":
        """The same from so many hits and misses [C] at a time, in clusters [C], ascending. Raises ValueError where all are 0."""
        low, high = clustered_counts(hits, misses, clusters, level)
        return cls(float(hits.sum() / (hits.sum() + misses.sum())), low, high)

    def complement(self) -> "ErrorRate":
        return ErrorRate(1 - self.value, 1 - self.high, 1 - self.low)


@dataclass(frozen=True, slots=True)
class Corrected:
    """A corrected figure within 0..1 with its interval, or None and the reason. `is_clipped`: the estimate itself fell outside and was cut."""

    value: float | None
    bounds: Bounds | None
    reason: str | None = None
    is_clipped: bool = False


def rogan_gladen(observed: ErrorRate, sensitivity: ErrorRate, specificity: ErrorRate) -> Corrected:
    """The true share of yes behind an observed one: (observed + specificity - 1) / (sensitivity + specificity - 1).

    `sensitivity` and `specificity` are the judge's on known answers, independent of `observed`. The interval holds the errors of all three: every p
    with 0 in the MOVER interval of observed - p sensitivity - (1 - p)(1 - specificity), which Fieller's argument makes a quadratic in p, cut to 0..1.
    It is 0..1 whole where the judge's errors alone could explain anything. Undefined when the judge is no better than chance.
    Sources: Rogan and Gladen (Am. J. Epidemiol. 107, 1978) for the figure; Fieller (J. R. Stat. Soc. B 16, 1954) with the distances of Zou, Huang
    and Zhang (Comput. Stat. Data Anal. 53, 2009, eq. 4) for the interval; Lang and Reiczigel (Prev. Vet. Med. 113, 2014) on why all three count.
    """
    alarm = specificity.complement()
    youden = sensitivity.value - alarm.value
    if youden <= 0:
        return Corrected(None, None, _no_better(sensitivity, specificity))
    excess = observed.value - alarm.value
    low = _end(excess, youden, (observed.value - observed.low, sensitivity.high - sensitivity.value, alarm.high - alarm.value), -1, 0.0)
    high = _end(excess, youden, (observed.high - observed.value, sensitivity.value - sensitivity.low, alarm.value - alarm.low), 1, 1.0)
    return _within(excess / youden, (low, high))


def corrected_balanced_accuracy(recall: ErrorRate, false_alarm: ErrorRate, sensitivity: ErrorRate, specificity: ErrorRate) -> Corrected:
    """Balanced accuracy with recall and false alarms each corrected: 1/2 + (recall - false alarm) / 2J, J = sensitivity + specificity - 1.

    The judge's errors pull a figure toward 1/2 and correction pushes it away again. Recall and false alarm share the judge's rates, so their
    intervals cannot just be joined: the interval is that of the ratio of (recall - false alarm) to J (Youden's index), by MOVER.
    Sources: as `rogan_gladen`; Donner and Zou (Stat. Methods Med. Res. 21, 2012, section 2.3) for ratios.
    """
    youden = sensitivity.value + specificity.value - 1
    if youden <= 0:
        return Corrected(None, None, _no_better(sensitivity, specificity))
    gap = recall.value - false_alarm.value
    gap_low = gap - float(np.hypot(recall.value - recall.low, false_alarm.high - false_alarm.value))
    gap_high = gap + float(np.hypot(recall.high - recall.value, false_alarm.value - false_alarm.low))
    youden_down = float(np.hypot(sensitivity.value - sensitivity.low, specificity.value - specificity.low))
    youden_up = float(np.hypot(sensitivity.high - sensitivity.value, specificity.high - specificity.value))
    # gap - ratio youden loses by a larger index where the ratio is positive, by a smaller one where it is negative.
    low = _root(youden**2 - (youden_up if gap_low > 0 else youden_down) ** 2, gap * youden, gap**2 - (gap - gap_low) ** 2, -1, -1.0)
    high = _root(youden**2 - (youden_down if gap_high > 0 else youden_up) ** 2, gap * youden, gap**2 - (gap_high - gap) ** 2, 1, 1.0)
    return _within((1 + gap / youden) / 2, ((1 + low) / 2, (1 + high) / 2))


def _end(excess: float, youden: float, distances: tuple[float, float, float], side: int, edge: float) -> float:
    """One end of the interval for p, from how far the observed share, the sensitivity and the false alarms are from the ends that work against it."""
    own, sensitive, alarming = distances
    square, linear = youden**2 - sensitive**2 - alarming**2, excess * youden - alarming**2
    return _root(square, linear, excess**2 - own**2 - alarming**2, side, edge)


def _root(square: float, linear: float, constant: float, side: int, edge: float) -> float:
    """The lower (-1) or upper (1) root of square x² - 2 linear x + constant; `edge` when the parabola does not open upward: nothing is ruled out."""
    if square <= 0:
        return edge
    return (linear + side * float(np.sqrt(max(linear**2 - square * constant, 0.0)))) / square


def _within(value: float, bounds: Bounds) -> Corrected:
    low, high = sorted(min(max(end, 0.0), 1.0) for end in bounds)
    clipped = min(max(value, 0.0), 1.0)
    return Corrected(clipped, (min(low, clipped), max(high, clipped)), is_clipped=clipped != value)


def _no_better(sensitivity: ErrorRate, specificity: ErrorRate) -> str:
    return (
        f"On known answers the judge said yes to {sensitivity.value:.0%} of what is so and to {1 - specificity.value:.0%} of what is not, "
        "which is no better than chance: its answers cannot be corrected."
    )
