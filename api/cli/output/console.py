"""Print results to stdout and everything else to stderr.

Text from files, endpoints and databases is printed with control characters replaced: by `Terminal` for people, `print_json` for programs,
`print_traceback` for defects.
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
    """A console that shows control characters as visible signs, except its own styles.

    Markup and emoji names in text are printed as they are. Long lines are not cut, since users copy commands from them.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"highlight": False, "markup": False, "emoji": False, "soft_wrap": True} | options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Yield the segments of all output, with control characters replaced."""
        for segment in super().render(renderable, options):
            yield segment if segment.control or segment.text.isprintable() else Segment(lines(segment.text), segment.style)


# In a pipe nothing is cut unless COLUMNS gives a width; rich would take 80 columns.
out = Terminal(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 200)
err = Terminal(stderr=True)


def print_json(value: Any) -> None:
    """Print one JSON document on stdout, without rich's wrapping and colours."""
    sys.stdout.write(escaped(json.dumps(value, ensure_ascii=False, indent=2)) + "\n")


def print_traceback(error: BaseException) -> None:
    """Print the traceback of a defect in Python's format."""
    sys.stderr.write(lines("".join(traceback.format_exception(error))))


def say(text: str) -> None:
    """Print one line on stderr."""
    err.print(text)


def print_error(error: GlossatorError) -> None:
    """Print what happened, why, and the cure; errors of the installation on one line."""
    if error.exit_status == 2:
        parts = ("", error.what), ("why: ", error.why), ("cure: ", error.cure)
        said = " ".join(f"{name}{one_line(part)}" for name, part in parts if part)
        err.print(Text("error: ", style="bold red") + Text(said))
        return
    err.print(Text("error: ", style="bold red") + Text(error.what))
    for name, part in (("why", error.why), ("cure", error.cure)):
        if part:
            err.print(Text(f"  {name}: ", style="dim") + Text(part))


def print_warnings(found: dict[str, Any]) -> None:
    """Print the warnings of a job or an estimate, one line each."""
    for warning in found.get("warnings") or []:
        err.print(Text("warning: ", style="yellow") + Text(warning["detail"]))


def thousands(value: float) -> str:
    return f"{value:,.0f}"


def duration(seconds: float) -> str:
    """Format seconds as `0:07`, `12:40` or `3:00:01`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def figure(value: float | None, digits: int = 2, signed: bool = False) -> str:
    """Format a score, never `-0.00`; an undefined one is a dash."""
    if value is None:
        return "–"
    # Adding 0.0 removes the sign of a zero.
    rounded = round(value, digits) + 0.0
    return f"{rounded:+.{digits}f}" if signed else f"{rounded:.{digits}f}"


def probability(value: float | None) -> str:
    """Format a p or q value."""
    if value is None:
        return "–"
    return f"{value:.1g}" if value < 0.01 else f"{value:.2f}"


def dollars(value: float | None) -> str:
    """Format an amount of money; without a price it is `unknown`."""
    if value is None:
        return "unknown"
    return f"${value:,.2f}" if value >= 1 or value == 0 else f"${value:.4f}"
