"""Read figures of a health report, and show them as HTML tables."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element

from glossator.drawing.markup import Node, element
from glossator.drawing.svg import Mark

# Of the normal distribution, for 95% intervals of figures with a standard error.
Z = 1.96
MISSING = "Not in this report."
NO_INTERVAL = "It has no standard error."
LISTED = 12
# Longer tables are folded.
LONGEST_TABLE = 10
MOST_DECIMALS = 8
# Beyond these a number is no figure, and no chart could show it.
LARGEST = 1e100

Report = dict[str, Any]
# A number, and its decimals, if its interval says how many.
Format = Callable[[float | None, int | None], str]


@dataclass(frozen=True, slots=True)
class Shown:
    """A figure with its 95% interval, or `why` either is undefined."""

    value: float | None
    low: float | None = None
    high: float | None = None
    why: str | None = None

    def text(self, form: Format) -> str:
        """Return the value, to two digits of its interval's half."""
        return form(self.value, self._decimals())

    def interval(self, form: Format) -> str:
        """Return the interval.

        A bare number, which is a count or follows from counts, is exact."""
        if self.low is None or self.high is None:
            return "–" if self.why or self.value is None else "exact"
        return f"{form(self.low, self._decimals())} to {form(self.high, self._decimals())}"

    def said(self, form: Format) -> str:
        """Return value and interval, or why it is undefined."""
        if self.value is None:
            return f"undefined ({(self.why or MISSING).removesuffix('.')})"
        return self.text(form) + (f" ({self.interval(form)})" if self.low is not None else "")

    def _decimals(self) -> int | None:
        if self.low is None or self.high is None or self.high <= self.low:
            return None
        return min(max(1 - math.floor(math.log10((self.high - self.low) / 2)), 0), MOST_DECIMALS)

    def mark(self, series: int = 0) -> Mark:
        """Return its mark in a chart."""
        return Mark(self.value, self.low, self.high, series)


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table: a figure's place in the report, title and meaning."""

    path: str
    title: str
    says: str
    form: Format | None = None


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and abs(value) < LARGEST


def number(value: float | None, decimals: int | None = None) -> str:
    """Format a number with so many decimals, or three digits."""
    if value is None:
        return "–"
    if decimals is not None:
        return f"{value:,.{decimals}f}"
    if value == int(value) or abs(value) >= 1000:
        return f"{value + 0.0:,.0f}" if abs(value) < 1e15 else f"{value:.3e}"
    return f"{value:#.3g}".removesuffix(".")


def percent(value: float | None, decimals: int | None = None) -> str:
    """Format a share as a percentage, with the decimals of the share or three digits."""
    if value is None:
        return "–"
    return f"{100 * value:.3g}%" if decimals is None else f"{100 * value:.{max(decimals - 2, 0)}f}%"


def numbers(value: Any) -> list[float]:
    """Return the numbers of a list; none, if anything else is in it."""
    return list(value) if isinstance(value, list) and all(map(is_number, value)) else []


def at(found: Any, path: str) -> Any:
    """Return the value at a dotted path of a report, or None."""
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def records(found: Any, path: str) -> list[Report]:
    """Return the records of the list at a path."""
    value = at(found, path)
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def reason(found: Any, path: str) -> str:
    """Return why nothing is at a path: the nearest reason above it."""
    why = MISSING
    for name in path.split("."):
        if not isinstance(found, dict):
            break
        why = found["why"] if isinstance(found.get("why"), str) else why
        found = found.get(name)
    return why


def shown(found: Any, path: str = "") -> Shown:
    """Return the figure at a path.

    It is a number, or a record with `value` and `standard_error`, or `value`, `low` and `high`."""
    raw = at(found, path) if path else found
    if is_number(raw):
        return Shown(raw)
    if not isinstance(raw, dict) or not is_number(raw.get("value")):
        own = raw.get("why") if isinstance(raw, dict) else None
        return Shown(None, why=own if isinstance(own, str) else reason(found, path) if path else MISSING)
    value, why = raw["value"], raw["why"] if isinstance(raw.get("why"), str) else None
    if is_number(raw.get("low")) and is_number(raw.get("high")):
        return Shown(value, raw["low"], raw["high"], why)
    if is_number(raw.get("standard_error")):
        half = Z * raw["standard_error"]
        return Shown(value, value - half, value + half, why)
    return Shown(value, why=why or NO_INTERVAL)


def figures(caption: str, report: Any, rows: Sequence[Row]) -> Element:
    """Return a table of figures with intervals and meanings."""
    body = []
    for row in rows:
        figure, form = shown(report, row.path), row.form or number
        notes = [element("span", row.says), element("span", figure.why, class_="why") if figure.why else None]
        body.append((row.title, figure.text(form), figure.interval(form), element("span", *notes, class_="note")))
    return table(caption, ("figure", "value", "95% interval", "what it says"), body)


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[Node]]) -> Element:
    """Return a table, which scrolls where it is wide; its first column names rows."""
    head = element("tr", *[element("th", name, scope="col") for name in header])
    body = [element("tr", element("th", first, scope="row"), *[element("td", cell) for cell in rest]) for first, *rest in rows]
    empty = [] if body else [element("tr", element("td", "None.", colspan=len(header)))]
    inner = element("table", element("caption", caption), element("thead", head), element("tbody", *body, *empty))
    # Reached by the keyboard, since it scrolls.
    return element("div", inner, class_="wide", tabindex=0, role="region", aria_label=caption)


def listing(caption: str, header: Sequence[str], rows: Sequence[Sequence[Node]]) -> Element:
    """Return a table, folded if it is long."""
    made = table(caption, header, rows)
    return folded(f"{caption} ({len(rows)})", made) if len(rows) > LONGEST_TABLE else made


def folded(summary: str, *children: Node) -> Element:
    return element("details", element("summary", summary), *children)


def feature_list(value: Any, most: int = LISTED) -> str:
    """Return the first features of a list as text."""
    found = [str(one) for one in value] if isinstance(value, list) else []
    return ", ".join(found[:most]) + (f" and {len(found) - most} more" if len(found) > most else "") or "–"


def kept(*found: Element | None) -> list[Element]:
    return [one for one in found if one is not None]
