"""Ratios of sums over documents, with standard errors that take documents as the unit."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from interp.domain.check_report import Figure

Floats = NDArray[np.float64]

ONE_UNIT = "The sample is of one document: no standard error."


@dataclass(frozen=True)
class Ratio:
    """Sum of `top` over sum of `bottom`, by unit of the sample.

    Both float64 `[U]`; a unit is a document, or a row. The standard error is that of the linearised ratio (Cochran 1977, Sampling Techniques, 6.4):
    tokens of one document are not independent. Units of which nothing was seen have 0 in both.
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
    def units(self) -> int:
        """Return the number of units seen."""
        return int(((self.top != 0) | (self.bottom != 0)).sum())

    @property
    def influence(self) -> Floats:
        """Return each unit's part of the ratio's error, `[U]`."""
        found: Floats = (self.top - self.value * self.bottom) / self.bottom.sum()
        return found

    def figure(self, undefined: str) -> Figure:
        """Return the ratio, or None with this reason where the sum below is not positive."""
        return linearised(self.value, self.influence, self.units) if self.is_defined else Figure(None, why=undefined)


def linearised(value: float, influence: Floats, units: int) -> Figure:
    """Return a figure with the standard error of each unit's part `[U]` of its error."""
    error = _error(influence, units)
    return Figure(value, error, ONE_UNIT if error is None else None)


def exceeds(one: Ratio, other: Ratio, is_paired: bool) -> float:
    """Return how many standard errors `one` is above `other`, whose units may be the same."""
    if is_paired:
        errors = [_error(one.influence - other.influence, max(one.units, other.units))]
    else:
        errors = [_error(ratio.influence, ratio.units) for ratio in (one, other)]
    if any(error is None for error in errors):
        return 0.0
    error = sum(error**2 for error in errors if error is not None) ** 0.5
    difference = one.value - other.value
    return difference / error if error > 0 else float(np.inf) * difference if difference else 0.0


def _error(influence: Floats, units: int) -> float | None:
    return float(np.sqrt(units / (units - 1) * (influence**2).sum())) if units > 1 else None
