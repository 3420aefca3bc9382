"""Ratios of sums over rows, with standard errors that take rows as the unit."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from interp.domain.check_report import Figure

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ratio:
    """Sum of `top` over sum of `bottom`, float64 `[R]` each, by row of the sample.

    The standard error is that of the linearised ratio (Cochran 1977, Sampling Techniques, 6.4): tokens of one row are not independent.
    """

    top: Floats
    bottom: Floats

    @property
    def is_defined(self) -> bool:
        return bool(self.bottom.sum() > 0)

    @property
    def value(self) -> float:
        return float(self.top.sum() / self.bottom.sum())

    @property
    def influence(self) -> Floats:
        """Return each row's part of the ratio's error, `[R]`."""
        found: Floats = (self.top - self.value * self.bottom) / self.bottom.sum()
        return found

    def figure(self, undefined: str) -> Figure:
        """Return the ratio, or None with this reason where the sum below is not positive."""
        if not self.is_defined:
            return Figure(None, why=undefined)
        return Figure(self.value, _error(self.influence))


def exceeds(one: Ratio, other: Ratio, is_paired: bool) -> float:
    """Return how many standard errors `one` is above `other`, whose rows may be the same."""
    parts = [one.influence - other.influence] if is_paired else [one.influence, other.influence]
    errors = [_error(part) for part in parts]
    if any(error is None for error in errors):
        return 0.0
    error = sum(error**2 for error in errors if error is not None) ** 0.5
    difference = one.value - other.value
    return difference / error if error > 0 else float(np.inf) * difference if difference else 0.0


def _error(influence: Floats) -> float | None:
    rows = int((influence != 0).sum())
    return float(np.sqrt(rows / (rows - 1) * (influence**2).sum())) if rows > 1 else None
