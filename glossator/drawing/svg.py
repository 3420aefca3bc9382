"""Draw small charts as SVG elements: histograms, values with intervals, quantiles.

Colours are classes (`s0` the dictionary, `s1` its control), which the page's style gives; the control's marks are hollow too.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from glossator.drawing.markup import element

WIDTH, LEFT, RIGHT, TOP = 460, 184, 444, 12
ROW, MARK, PANEL, AXIS = 18, 11, 92, 40
# Of a chart with two axes.
UPRIGHT, PLOT = 64, 220
LONGEST_LABEL = 24
TICKS = 6
# A logarithmic axis has this many decades at most: quantiles of nearly 0 would leave no room for the others.
DECADES = 6
# What is nearer to 0 is drawn as 0: the difference of two such numbers can be 0.
SMALLEST = 1e-200


@dataclass(frozen=True, slots=True)
class Mark:
    """A value of a series, with its interval if it has one."""

    value: float | None
    low: float | None = None
    high: float | None = None
    series: int = 0


@dataclass(frozen=True, slots=True)
class Scale:
    """Scale from values between `low` and `high` to horizontal places."""

    low: float
    high: float
    start: float = LEFT
    log: bool = False

    def at(self, value: float) -> float:
        """Return the place of a value; those outside are at the ends."""
        low, high, value = (self._inner(one) for one in (self.low, self.high, min(max(value, self.low), self.high)))
        return round(self.start + (RIGHT - self.start) * (value - low) / (high - low), 2)

    def _inner(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def ticks(self) -> list[tuple[float, str]]:
        """Return round values within the scale, with their labels."""
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            steps = (1, 2, 5) if len(decades) <= 3 else (1,)
            values = [step * 10.0**decade for decade in decades for step in steps]
            return [(value, f"{value:.3g}") for value in values if self.low <= value <= self.high]
        rough = (self.high - self.low) / TICKS
        power = math.floor(math.log10(rough))
        step = next(10.0**power * factor for factor in (1, 2, 5, 10) if 10.0**power * factor >= rough)
        # As many decimals as tell neighbours apart.
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [(place * step, f"{place * step + 0.0:,.{decimals}f}") for place in range(first, last + 1)]


def scale(values: Sequence[float], *, zero: bool = False, log: bool = False, start: float = LEFT) -> Scale:
    """Return the scale that shows all values, and 0 too if `zero`.

    A logarithmic one leaves out what is not positive."""
    values = [0.0 if abs(value) < SMALLEST else value for value in values]
    if log and (positive := [value for value in values if value > 0]):
        high = max(positive)
        low = max(min(positive), high / 10**DECADES)
        return Scale(low / 1.2, high * 1.2, start, log=True)
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    # Equal values, up to rounding, get some room; bars begin at the edge.
    room = 0.04 * (high - low) if high - low > 1e-6 * max(abs(low), abs(high)) else max(abs(high), 1.0) / 10
    return Scale(low if zero and low == 0 else low - room, high if zero and high == 0 > low else high + room, start)


def marks(key: str, title: str, description: str, rows: Sequence[tuple[str, Sequence[Mark]]], unit: str, *, bars: bool = False) -> Element:
    """Draw rows of values with intervals; as bars from 0 if `bars`."""
    shown = [one for _, row in rows for mark in row for one in (mark.value, mark.low, mark.high) if one is not None]
    across, drawn, y = scale(shown, zero=bars), list[Element](), float(TOP)
    for label, row in rows:
        height = max(len(row) * MARK + 6, ROW)
        drawn.append(_label(label, y + height / 2))
        drawn += [part for place, mark in enumerate(row) for part in _mark(mark, across, y + 3 + MARK * (place + 0.5), bars)]
        y += height
    return _chart(key, title, description, y, [*_axis(across, TOP, y, unit), *drawn])


def _mark(mark: Mark, across: Scale, y: float, bars: bool) -> list[Element]:
    if mark.value is None:
        return [element("text", "undefined", x=LEFT + 4, y=y + 4, class_="faint")]
    x, series, drawn = across.at(mark.value), f"s{mark.series}", list[Element]()
    if bars:
        ends = sorted((across.at(0), x))
        drawn.append(element("rect", x=ends[0], y=y - 5, width=round(ends[1] - ends[0], 2), height=10, class_=f"bar {series}"))
    if mark.low is not None and mark.high is not None:
        drawn.append(element("line", x1=across.at(mark.low), x2=across.at(mark.high), y1=y, y2=y, class_="whisker" if bars else f"whisker {series}"))
    if not bars:
        drawn.append(element("circle", cx=x, cy=y, r=4, class_=f"dot {series}"))
    return drawn


def quantiles(key: str, title: str, description: str, rows: Sequence[tuple[str, Sequence[float], int]], unit: str, *, log: bool = False) -> Element:
    """Draw rows of 7 quantiles: 0, 5, 25, 50, 75, 95, 100%.

    A line from 5% to 95%, a bar from 25% to 75%, and the median: the extremes would leave no room."""
    across, drawn, y = scale([value for _, row, _ in rows for value in row[1:-1]], log=log), list[Element](), float(TOP)
    for label, row, series in rows:
        _, low, first, median, third, high, _ = (across.at(value) for value in row)
        middle = y + 11
        drawn += [
            _label(label, middle),
            element("line", x1=low, x2=high, y1=middle, y2=middle, class_=f"whisker s{series}"),
            element("rect", x=first, y=middle - 6, width=max(round(third - first, 2), 1), height=12, class_=f"bar s{series}"),
            element("line", x1=median, x2=median, y1=middle - 8, y2=middle + 8, class_="median"),
        ]
        y += 24
    return _chart(key, title, description, y, [*_axis(across, TOP, y, unit), *drawn])


def histograms(key: str, title: str, description: str, edges: Sequence[float], panels: Sequence[tuple[str, Sequence[int]]], unit: str) -> Element:
    """Draw histograms of the same bins below each other, by share of the values.

    Empty bins at both ends are cut."""
    filled = [place for _, counts in panels for place, count in enumerate(counts) if count]
    # An empty bin stays on each side.
    first, last = (max(min(filled) - 1, 0), min(max(filled) + 1, len(edges) - 2)) if filled else (0, len(edges) - 2)
    across = Scale(edges[first], edges[last + 1], start=16)
    most = max((max(counts) / sum(counts) for _, counts in panels if sum(counts)), default=1.0)
    drawn, y = list[Element](), float(TOP)
    for series, (name, counts) in enumerate(panels):
        floor, total = y + PANEL, sum(counts)
        drawn.append(element("text", f"{name}: {total:,}", x=16, y=y + 8, class_="panel"))
        for place in range(first, last + 1):
            if counts[place]:
                height = round((PANEL - 18) * counts[place] / total / most, 2)
                x, end = across.at(edges[place]), across.at(edges[place + 1])
                drawn.append(element("rect", x=x, y=round(floor - height, 2), width=round(end - x, 2), height=height, class_=f"bar s{series}"))
        drawn.append(element("line", x1=16, x2=RIGHT, y1=floor, y2=floor, class_="axis"))
        y = floor + 10
    return _chart(key, title, description, y - 10, [*_axis(across, y - 10, y - 10, unit), *drawn])


def scatter(key: str, title: str, description: str, points: Sequence[tuple[str, float, Mark]], units: tuple[str, str]) -> Element:
    """Draw named points with vertical intervals over a logarithmic axis; the first is the dictionary.

    `units` are those of the horizontal and the vertical axis."""
    across, bottom = scale([x for _, x, _ in points], log=True, start=UPRIGHT), TOP + PLOT
    up = scale([value for _, _, mark in points for value in (mark.value, mark.low, mark.high) if value is not None])
    drawn = [element("text", units[1], x=UPRIGHT, y=TOP - 2, class_="tick"), *_axis(across, TOP, bottom, units[0])]

    def height(value: float) -> float:
        return round(bottom - PLOT * (value - up.low) / (up.high - up.low), 2)

    for value, label in up.ticks():
        drawn.append(element("line", x1=UPRIGHT, x2=RIGHT, y1=height(value), y2=height(value), class_="grid"))
        drawn.append(element("text", label, x=UPRIGHT - 6, y=height(value) + 4, text_anchor="end", class_="tick"))
    for place, (name, x, mark) in enumerate(points):
        at, y, series = across.at(x), height(mark.value or 0.0), f"s{min(place, 1)}"
        if mark.low is not None and mark.high is not None:
            drawn.append(element("line", x1=at, x2=at, y1=height(mark.low), y2=height(mark.high), class_=f"whisker {series}"))
        is_right = at > (UPRIGHT + RIGHT) / 2
        drawn.append(element("circle", cx=at, cy=y, r=4, class_=f"dot {series}"))
        drawn.append(element("text", _short(name), x=at - 7 if is_right else at + 7, y=y - 6, text_anchor="end" if is_right else "start"))
    return _chart(key, title, description, bottom, drawn)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 1] + "…"


def _label(text: str, y: float) -> Element:
    return element("text", _short(text), x=LEFT - 8, y=y + 4, text_anchor="end")


def _axis(across: Scale, top: float, bottom: float, unit: str) -> list[Element]:
    drawn = [element("line", x1=across.start, x2=RIGHT, y1=bottom, y2=bottom, class_="axis")]
    for value, label in across.ticks():
        x = across.at(value)
        drawn.append(element("line", x1=x, x2=x, y1=top, y2=bottom + 4, class_="grid"))
        drawn.append(element("text", label, x=x, y=bottom + 17, text_anchor="middle", class_="tick"))
    drawn.append(element("text", unit, x=(across.start + RIGHT) / 2, y=bottom + 33, text_anchor="middle", class_="tick"))
    return drawn


def _chart(key: str, title: str, description: str, height: float, drawn: list[Element]) -> Element:
    names = element("title", title, id=f"{key}-title"), element("desc", description, id=f"{key}-desc")
    box = f"0 0 {WIDTH} {round(height + AXIS)}"
    return element("svg", *names, *drawn, viewBox=box, role="img", aria_labelledby=f"{key}-title {key}-desc")
