"""One figure beside another on the same items: lift over nulls, lift over a control."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.domain.explanation import Explanation
from interp.domain.score import ControlResult, Interval, NullResult
from interp.score.controls.null_comparison import LEVEL, METHOD, SHARE, Rivals, compare
from interp.stats.intervals import Bounds, mover_difference

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure, its interval, and its values without each document, float64 [m].

    `value` None: undefined, with `reason`; a value without an interval has a `reason`, too. `span`: what the figure can be. `error`: its standard
    error, where that is not read off the interval.
    """

    value: float | None
    bounds: Bounds | None = None
    replicates: Floats = field(default_factory=lambda: np.zeros(0))
    reason: str | None = None
    span: Bounds = SHARE
    error: float | None = None


def against_nulls(own: Figure, rivals: Rivals, borrowed: Sequence[Explanation]) -> NullResult:
    """Lift and p values of `own` over borrowed explanations."""
    return compare(own.value, own.bounds, own.replicates, rivals, borrowed, own.span, own.error)


def against_control(name: str, own: Figure, control: Figure, details: dict[str, Any]) -> ControlResult:
    """Lift of `own` over one control's figure, both on the items that both answered."""
    if control.value is None or own.value is None:
        reason = control.reason if control.value is None else own.reason
        return ControlResult(name, control.value, None, None, reason or "The figure is undefined on the items that both answered.", details)
    return ControlResult(name, control.value, own.value - control.value, _difference(own, control), None, details)


def _difference(own: Figure, control: Figure) -> Interval | None:
    if own.value is None or control.value is None or own.bounds is None or control.bounds is None:
        return None
    both = np.stack([own.replicates, control.replicates])
    steady = len(own.replicates) < 2 or bool(np.isnan(both).any()) or bool((both.std(axis=1) < 1e-12).any())
    correlation = 0.0 if steady else float(np.corrcoef(own.replicates, control.replicates)[0, 1])
    low, high = mover_difference(own.value, own.bounds, control.value, control.bounds, correlation)
    return Interval(low, high, LEVEL, METHOD)
