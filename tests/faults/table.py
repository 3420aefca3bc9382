"""The table of faults: one row a fault, on the terminal and in docs/reliability.md."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from rich.table import Table

from tests.faults.trial import Outcome

DOCS = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"
COLUMNS = (
    "fault",
    "times tried",
    "recovered",
    "chunks done again",
    "calls paid twice (in flight at the fault)",
    "time to recover, median and longest",
)


def row(title: str, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """What all trials of one fault add up to. Repeated work as a mean a trial."""
    if not outcomes:
        return (title, "0", "-", "-", "-", "-")
    times = [outcome.recovery_seconds for outcome in outcomes]
    chunks, calls, in_flight = (sum(getattr(outcome, name) for outcome in outcomes) / len(outcomes) for name in ("chunks", "calls", "in_flight"))
    recovered = sum(outcome.is_recovered for outcome in outcomes)
    return (
        title,
        str(len(outcomes)),
        str(recovered),
        f"{chunks:.1f}",
        f"{calls:.1f} ({in_flight:.1f})",
        f"{median(times):.1f} s, {max(times):.1f} s",
    )


def as_rich(rows: Sequence[tuple[str, ...]]) -> Table:
    """For the terminal."""
    table = Table(*COLUMNS)
    for one in rows:
        table.add_row(*one)
    return table


def as_markdown(rows: Sequence[tuple[str, ...]]) -> str:
    """For the docs."""
    lines = [COLUMNS, tuple("---" for _ in COLUMNS), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write(rows: Sequence[tuple[str, ...]], about: str) -> None:
    """Puts the table into the docs, between its markers."""
    page = DOCS.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCS.write_text(f"{before}{BEGIN}\n{about}\n\n{as_markdown(rows)}\n{END}{after}")


def rows_of(titles: Mapping[str, str], outcomes: Sequence[Outcome]) -> list[tuple[str, ...]]:
    """A row for each of the faults, in their order."""
    return [row(title, [outcome for outcome in outcomes if outcome.fault == key]) for key, title in titles.items()]
