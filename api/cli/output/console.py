"""Where the command line prints: results on stdout, everything else on stderr.

What is printed comes from outside, by way of files, endpoints and databases. Everything that a command shows goes through here, and so is free of
control characters, whoever wrote it: `Terminal` for people, `print_json` for programs, `print_traceback` for defects.
"""

import json
import os
import sys
import traceback
from collections.abc import Iterator
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from interp.domain.cleaning import escaped, lines, one_line
from interp.domain.errors import GlossatorError


class Terminal(Console):
    """A console that shows control characters as signs, whatever they stand in: tables and progress bars, too. Its own colours stay.

    Text is text: what looks like markup or the name of an emoji in it is neither.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"highlight": False, "markup": False, "emoji": False, "soft_wrap": True} | options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """What is to be shown, piece by piece; all that rich prints comes by here."""
        for segment in super().render(renderable, options):
            yield segment if segment.control or segment.text.isprintable() else Segment(lines(segment.text), segment.style)


# In a pipe nothing may be cut, unless COLUMNS says how wide it is: rich would take 80 columns.
out = Terminal(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 200)
err = Terminal(stderr=True)


def print_json(value: Any) -> None:
    """One JSON document on stdout, as it is: rich would wrap and colour it."""
    sys.stdout.write(escaped(json.dumps(value, ensure_ascii=False, indent=2)) + "\n")


def print_traceback(error: BaseException) -> None:
    """A defect of ours, as Python prints it."""
    sys.stderr.write(lines("".join(traceback.format_exception(error))))


def say(text: str) -> None:
    """One line of news on stderr, not cut at the window's width: people copy commands from it."""
    err.print(text, markup=False, soft_wrap=True)


def print_error(error: GlossatorError) -> None:
    """What happened, why, and what to do about it: of the installation in one line, as a log takes it."""
    if error.exit_status == 2:
        parts = ("", error.what), ("why: ", error.why), ("cure: ", error.cure)
        said = " ".join(f"{name}{one_line(part)}" for name, part in parts if part)
        err.print(Text("error: ", style="bold red") + Text(said), soft_wrap=True)
        return
    err.print(Text("error: ", style="bold red") + Text(error.what), soft_wrap=True)
    for name, part in (("why", error.why), ("cure", error.cure)):
        if part:
            err.print(Text(f"  {name}: ", style="dim") + Text(part), soft_wrap=True)


def print_warnings(found: dict[str, Any]) -> None:
    """What to know of how the files of a job or an estimate were read, a line a warning."""
    for warning in found.get("warnings") or []:
        err.print(Text("warning: ", style="yellow") + Text(warning["detail"]), soft_wrap=True)


def thousands(value: float) -> str:
    return f"{value:,.0f}"


def duration(seconds: float) -> str:
    """`0:07`, `12:40`, `3:00:01`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def figure(value: float | None, digits: int = 2, signed: bool = False) -> str:
    """A score as people read it: never `-0.00`; a dash where it is not defined."""
    if value is None:
        return "–"
    # Adding 0.0 takes the sign off a zero.
    rounded = round(value, digits) + 0.0
    return f"{rounded:+.{digits}f}" if signed else f"{rounded:.{digits}f}"


def probability(value: float | None) -> str:
    """A p or q value."""
    if value is None:
        return "–"
    return f"{value:.1g}" if value < 0.01 else f"{value:.2f}"


def dollars(value: float | None) -> str:
    """An amount of money; "unknown" where nobody knows a price."""
    if value is None:
        return "unknown"
    return f"${value:,.2f}" if value >= 1 or value == 0 else f"${value:.4f}"
