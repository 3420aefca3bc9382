"""Dictionaries compared by sparsity and quality: Pareto fronts, and comparisons at matched L0 alone."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from interp.domain.check_report import Figure
from interp.domain.errors import InputError

Floats = NDArray[np.float64]
# Measures, and whether more of it is better.
MEASURES = {"ce_recovered": True, "fvu": False}
# Equal L0: within 5%, or with overlapping 95% intervals within 20%, so that a wide interval does not match everything.
TOLERANCE, WIDE = 1.05, 1.2
CRITICAL = 1.959964
# Every two are compared, so that their number is bounded.
MOST_POINTS = 64


@dataclass(frozen=True, slots=True)
class Point:
    """L0, FVU and CE recovered of a dictionary.

    A family are dictionaries that differ in sparsity alone.
    """

    dictionary: str
    family: str
    l0: Figure
    fvu: Figure
    ce_recovered: Figure


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a dictionary is on the Pareto front of a measure.

    None with a reason where it has no such figures. It is dominated by another whose L0 is not higher and whose quality is not lower, one of them
    strictly. `dominated_by` are those, and `clearly` those that are better in both by more than 1.96 standard errors of the difference (0 where
    an error is not known: then nothing is clear).
    """

    dictionary: str
    on_front: bool | None
    dominated_by: tuple[str, ...] = ()
    clearly: tuple[str, ...] = ()
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Difference first - second of a measure at matched L0.

    None with the reason where it is not matched. The standard error is sqrt(s1² + s2²), of independent samples: too large where both were measured
    on the same tokens.
    """

    first: str
    second: str
    difference: Figure


@dataclass(frozen=True, slots=True)
class CurveComparison:
    """Mean difference first - second of two families' curves over the L0 that both cover.

    A curve is linear in log L0 between a family's points; those of equal L0 are averaged. The mean is the integral of the difference over log L0 from
    `low` to `high`, over its length: exact, since the difference is piecewise linear. Its error is that of the same linear combination of
    independent points, with their L0 as given. `least` and `greatest` are the extremes of the difference: of two signs where the curves cross.
    """

    first: str
    second: str
    low: float | None
    high: float | None
    difference: Figure
    least: float | None = None
    greatest: float | None = None


@dataclass(frozen=True, slots=True)
class MeasureReport:
    """Front, comparisons of every two dictionaries, and of every two families, by one measure."""

    measure: str
    more_is_better: bool
    front: tuple[Standing, ...]
    comparisons: tuple[Comparison, ...]
    curves: tuple[CurveComparison, ...]


@dataclass(frozen=True, slots=True)
class Pareto:
    """Report by CE recovered and by FVU.

    Trap: at unequal L0 the denser dictionary is better in both.
    """

    measures: tuple[MeasureReport, ...]


@dataclass(frozen=True)
class _Placed:
    """A point with both figures; unknown errors are NaN."""

    name: str
    family: str
    l0: float
    value: float
    l0_error: float
    error: float


def pareto(points: Sequence[Point]) -> Pareto:
    """Compare dictionaries by L0 and quality (see `Pareto`).

    Raises InputError for more than 64, and for two of one name.
    """
    if len(points) > MOST_POINTS:
        raise InputError(f"{len(points)} dictionaries are too many to compare each with each.", cure=f"Give at most {MOST_POINTS}.")
    names = [point.dictionary for point in points]
    if len(set(names)) < len(names):
        raise InputError("Two of the dictionaries have the same name.", cure="Give each dictionary once.")
    return Pareto(tuple(_report(points, measure, better) for measure, better in MEASURES.items()))


def _report(points: Sequence[Point], measure: str, better: bool) -> MeasureReport:
    placed = {point.dictionary: _placed(point, measure) for point in points}
    known = [found for found in placed.values() if isinstance(found, _Placed)]
    families: dict[str, list[_Placed]] = defaultdict(list)
    for point in known:
        families[point.family].append(point)
    return MeasureReport(
        measure=measure,
        more_is_better=better,
        front=tuple(_standing(name, found, known, better) for name, found in placed.items()),
        comparisons=tuple(_compare(one, other) for one, other in combinations(known, 2)),
        curves=tuple(_compare_curves(one, other, families[one], families[other]) for one, other in combinations(families, 2)),
    )


def _placed(point: Point, measure: str) -> "_Placed | str":
    """Return the point, or the reason why it has no place."""
    figure: Figure = getattr(point, measure)
    if figure.value is None:
        return f"Its {measure} is undefined: {figure.why}"
    if point.l0.value is None or point.l0.value <= 0:
        return f"Its L0 is undefined: {point.l0.why}" if point.l0.value is None else "Its L0 is 0: nothing fires."
    errors = (np.nan if error is None else error for error in (point.l0.standard_error, figure.standard_error))
    return _Placed(point.dictionary, point.family, point.l0.value, figure.value, *errors)


def _standing(name: str, found: "_Placed | str", known: list[_Placed], better: bool) -> Standing:
    if isinstance(found, str):
        return Standing(name, None, why=found)
    sign = 1 if better else -1
    by, clearly = [], []
    for other in known:
        sparser, finer = found.l0 - other.l0, sign * (other.value - found.value)
        if sparser >= 0 and finer >= 0 and (sparser > 0 or finer > 0):
            by.append(other.name)
            if sparser > CRITICAL * np.hypot(found.l0_error, other.l0_error) and finer > CRITICAL * np.hypot(found.error, other.error):
                clearly.append(other.name)
    return Standing(name, not by, tuple(by), tuple(clearly))


def _compare(one: _Placed, other: _Placed) -> Comparison:
    ratio = max(one.l0, other.l0) / min(one.l0, other.l0)
    # NaN, of an unknown error, overlaps nothing.
    overlap = abs(one.l0 - other.l0) <= CRITICAL * (one.l0_error + other.l0_error)
    if ratio > TOLERANCE and not (overlap and ratio <= WIDE):
        why = f"L0 of {one.l0:.4g} and {other.l0:.4g} are not matched: compare families along their curves, or dictionaries of equal L0."
        return Comparison(one.name, other.name, Figure(None, why=why))
    return Comparison(one.name, other.name, _difference(one.value - other.value, float(np.hypot(one.error, other.error))))


def _difference(value: float, error: float) -> Figure:
    return Figure(value, error) if np.isfinite(error) else Figure(value, why="A point has no standard error.")


def _compare_curves(first: str, second: str, one: list[_Placed], other: list[_Placed]) -> CurveComparison:
    sides = [_Curve.of(points) for points in (one, other)]
    short = [name for name, side in zip((first, second), sides, strict=True) if len(side.knots) < 2]
    if short:
        why = f"{' and '.join(short)} {'has' if len(short) == 1 else 'have'} no two points of different L0: there is no curve."
        return CurveComparison(first, second, None, None, Figure(None, why=why))
    low, high = max(side.knots[0] for side in sides), min(side.knots[-1] for side in sides)
    if low >= high:
        return CurveComparison(first, second, None, None, Figure(None, why="The families cover no common range of L0."))
    inside = np.unique(np.concatenate([[low, high], *(side.knots for side in sides)]))
    grid = inside[(inside >= low) & (inside <= high)]
    steps = np.diff(grid) / (high - low) / 2
    areas = np.append(steps, 0) + np.insert(steps, 0, 0)
    curves = [side.weights(grid) for side in sides]
    differences = curves[0] @ sides[0].values - curves[1] @ sides[1].values
    variance = sum(float(((areas @ curve) ** 2 * side.errors**2).sum()) for curve, side in zip(curves, sides, strict=True))
    span = float(np.exp(low)), float(np.exp(high))
    mean = _difference(float(areas @ differences), float(np.sqrt(variance)))
    return CurveComparison(first, second, *span, mean, float(differences.min()), float(differences.max()))


@dataclass(frozen=True)
class _Curve:
    """Distinct log L0 of a family [K]; log L0, values and errors by point [P]."""

    knots: Floats
    places: Floats
    values: Floats
    errors: Floats

    @classmethod
    def of(cls, points: list[_Placed]) -> "_Curve":
        places = np.log([point.l0 for point in points])
        return cls(np.unique(places), places, np.array([point.value for point in points]), np.array([point.error for point in points]))

    def weights(self, grid: Floats) -> Floats:
        """Return the points' weights [G, P] in the curve's values on a grid."""
        at = self.places[:, None] == self.knots
        hats = np.array([np.interp(grid, self.knots, hat) for hat in np.eye(len(self.knots))])
        found: Floats = hats.T @ (at / at.sum(0)).T
        return found
