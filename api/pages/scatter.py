"""Draw pairs of figures as points over two equal axes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

SIZE, EDGE = 320, 34
# More points than this hide one another behind their intervals.
MOST_INTERVALS = 150
DOT = Markup('<circle class="dot s0" cx="{}" cy="{}" r="3"></circle>')
WHISKER = Markup('<line class="interval" x1="{}" y1="{}" x2="{}" y2="{}"></line>')

Bounds = tuple[float | None, float | None]


@dataclass(frozen=True, slots=True)
class PlottedPair:
    """A pair of figures, each with the ends of its interval, if known."""

    x: float
    y: float
    x_bounds: Bounds = (None, None)
    y_bounds: Bounds = (None, None)


def scatter(points: Sequence[PlottedPair], across: str, up: str, about: str) -> Markup:
    """Return an SVG of the finite points and the line of equal figures; else nothing.

    Up to 150 points have their intervals.
    """
    points = [point for point in points if math.isfinite(point.x) and math.isfinite(point.y)]
    if not points:
        return Markup("")
    has_intervals = len(points) <= MOST_INTERVALS
    values = [value for point in points for value in (point.x, point.y)]
    if has_intervals:
        values += [bound for point in points for bounds in (point.x_bounds, point.y_bounds) for bound in _known(bounds) or ()]
    low, high = min(values), max(values)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5

    def at(value: float) -> float:
        return round(EDGE + (SIZE - 2 * EDGE) * (value - low) / (high - low), 2)

    whiskers = Markup("").join(_intervals(point, at) for point in points if has_intervals)
    dots = Markup("").join(DOT.format(at(point.x), SIZE - at(point.y)) for point in points)
    ends = Markup("").join(
        Markup('<text class="tick" x="{}" y="{}" text-anchor="{}">{}</text>').format(x, y, anchor, f"{value:.2f}")
        for x, y, anchor, value in (
            (at(low), SIZE - 18, "start", low),
            (at(high), SIZE - 18, "end", high),
            (EDGE - 4, SIZE - at(low), "end", low),
            (EDGE - 4, SIZE - at(high) + 10, "end", high),
        )
    )
    frame = Markup('<svg class="pairs" viewBox="0 0 {0} {0}" role="img" aria-label="{1}">').format(SIZE, about)
    line = Markup('<line class="grid" x1="{0}" y1="{1}" x2="{1}" y2="{0}"></line>').format(at(low), SIZE - at(low))
    names = Markup('<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text><text class="tick" x="{}" y="12">{}</text>').format(
        SIZE / 2, SIZE - 4, across, EDGE, up
    )
    return frame + line + whiskers + dots + ends + names + Markup("</svg>")


def _known(bounds: Bounds) -> tuple[float, float] | None:
    """Return the ends of an interval; None where one is unknown or not finite."""
    low, high = bounds
    return (low, high) if low is not None and high is not None and math.isfinite(low) and math.isfinite(high) else None


def _intervals(point: PlottedPair, at: Callable[[float], float]) -> Markup:
    """Return the lines of a point's two intervals."""
    x, y = at(point.x), SIZE - at(point.y)
    lines = Markup("")
    if across := _known(point.x_bounds):
        lines += WHISKER.format(at(across[0]), y, at(across[1]), y)
    if up := _known(point.y_bounds):
        lines += WHISKER.format(x, SIZE - at(up[0]), x, SIZE - at(up[1]))
    return lines
