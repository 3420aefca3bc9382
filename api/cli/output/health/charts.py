"""Charts of a health report, each with the numbers behind it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element

from api.cli.output.health.figures import Shown, at, number, numbers, table
from glossator.drawing import svg
from glossator.drawing.markup import Node, element, extend

LEVELS = ("least", "5%", "25%", "median", "75%", "95%", "greatest")


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers behind a chart, with all their digits; None where one is undefined."""

    header: tuple[str, ...]
    rows: Sequence[Sequence[str | float | None]]


class Chart(Element):
    """A figure of a page: its drawing, caption, and the numbers behind it."""

    def __init__(self, drawn: Element, title: str, says: str, shown: Element, exact: Numbers) -> None:
        """`shown` is the table of the page, `exact` has the same numbers with all digits."""
        super().__init__("figure")
        self.key = drawn.get("aria-labelledby", "").partition("-title ")[0]
        self.drawn, self.title, self.says, self.exact = drawn, title, says, exact
        extend(self, (element("figcaption", element("strong", f"{title}. "), says), drawn, element("details", element("summary", "Numbers"), shown)))


def quantiles(key: str, title: str, says: str, found: Sequence[tuple[str, Any, int]], unit: str, *, log: bool = False) -> Chart | None:
    """Return the chart of distributions (7 quantiles each), or None where there is none."""
    rows = [(name, values, series) for name, raw, series in found if len(values := numbers(raw)) == len(LEVELS)]
    if not rows:
        return None
    text = f"{says} The line is from 5% to 95%, the bar from 25% to 75%, the tick is the median."
    drawn = svg.quantiles(key, title, text, rows, unit, log=log)
    exact = Numbers(("name", *LEVELS), [(name, *values) for name, values, _ in rows])
    return chart(drawn, title, text, ("", *LEVELS), [(name, *map(number, values)) for name, values, _ in rows], exact)


def histograms(key: str, title: str, says: str, found: Sequence[tuple[str, Any]], unit: str) -> Chart | None:
    """Return the chart of histograms of the same bins, or None where there is none."""
    edges = next((numbers(at(raw, "edges")) for _, raw in found if numbers(at(raw, "edges"))), [])
    panels = [(name, [int(count) for count in numbers(at(raw, "counts"))]) for name, raw in found if numbers(at(raw, "edges")) == edges]
    panels = [(name, counts) for name, counts in panels if len(counts) == len(edges) - 1 and sum(counts) > 0]
    # Bins of values that are equal up to rounding show nothing.
    if not panels or edges[-1] - edges[0] <= 1e-6 * max(abs(edges[0]), abs(edges[-1])):
        return None
    drawn = svg.histograms(key, title, says, edges, panels, unit)
    rows = [
        (f"{number(edges[place])} to {number(edges[place + 1])}", *[number(counts[place]) for _, counts in panels])
        for place in range(len(edges) - 1)
        if any(counts[place] for _, counts in panels)
    ]
    exact = [(edges[place], edges[place + 1], *[counts[place] for _, counts in panels]) for place in range(len(edges) - 1)]
    names = [name for name, _ in panels]
    return chart(drawn, title, says, (unit, *names), rows, Numbers((f"{unit}, from", "to", *names), exact))


def intervals(
    key: str, title: str, says: str, rows: Sequence[tuple[str, Sequence[tuple[str, Shown]]]], unit: str, *, bars: bool = False
) -> Chart | None:
    """Return the chart of figures with intervals, or None where all are undefined."""
    if not any(figure.value is not None for _, marks in rows for _, figure in marks):
        return None
    drawn = svg.marks(
        key, title, says, [(name, [figure.mark(place) for place, (_, figure) in enumerate(marks)]) for name, marks in rows], unit, bars=bars
    )
    lines = [
        (f"{name}, {series}" if len(marks) > 1 else name, figure.text(number), figure.interval(number), figure.why or "")
        for name, marks in rows
        for series, figure in marks
    ]
    exact = [(name, series, figure.value, figure.low, figure.high, figure.why) for name, marks in rows for series, figure in marks]
    behind = Numbers(("name", "series", "value", "low", "high", "why not"), exact)
    return chart(drawn, title, says, ("", "value", "95% interval", "why not"), lines, behind)


def chart(drawn: Element, title: str, says: str, header: Sequence[str], rows: Iterable[Sequence[Node]], exact: Numbers) -> Chart:
    """Return a figure with its caption and the table of its numbers."""
    return Chart(drawn, title, says, table(f"{title}: numbers", header, rows), exact)
