"""Kinds of figures of a health report."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Quantiles of every distribution in the report.
LEVELS = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True, slots=True)
class Share:
    """A share with its 95% interval by documents; where it is None, `why` says why."""

    value: float | None
    low: float | None
    high: float | None
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of values in the bins between ascending edges; the last bin is closed."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, values: NDArray[np.floating], edges: Sequence[float] | NDArray[np.floating]) -> "Histogram":
        """Count values `[N]`; those outside the edges are counted in the outer bins."""
        bounds = np.asarray(edges, dtype=np.float64)
        counts, _ = np.histogram(np.clip(values, bounds[0], bounds[-1]), bounds)
        return cls(tuple(bounds.tolist()), tuple(counts.tolist()))


@dataclass(frozen=True, slots=True)
class Distribution:
    """Number, mean and quantiles (at `LEVELS`) of values; None of no values."""

    count: int
    mean: float | None
    quantiles: tuple[float, ...] | None

    @classmethod
    def of(cls, values: NDArray[np.floating]) -> "Distribution":
        if not len(values):
            return cls(0, None, None)
        return cls(len(values), float(values.mean()), tuple(np.quantile(values, LEVELS).tolist()))
