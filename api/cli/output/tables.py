"""Print tables that fit the terminal by leaving out columns, never by cutting figures."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from api.cli.output.console import say

GAP = 2

Cell = str | Text


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column; the highest `rank` is left out first, 0 never; texts shrink to `least`."""

    name: str
    rank: int = 0
    least: int | None = None

    def widths(self, cells: Sequence[Cell]) -> tuple[int, int]:
        """Return the column's smallest and largest width in characters."""
        most = max([len(self.name), *(len(cell) if isinstance(cell, str) else cell.cell_len for cell in cells)])
        return most if self.least is None else min(most, max(self.least, len(self.name))), most


def fitting(columns: Sequence[TableColumn], rows: Sequence[Sequence[Cell]], width: int) -> list[int]:
    """Return the places of the columns that fit into `width` characters, in order."""
    least = [column.widths([row[place] for row in rows])[0] for place, column in enumerate(columns)]
    kept = list(range(len(columns)))
    while sum(least[place] for place in kept) + GAP * (len(kept) - 1) > width:
        optional = [place for place in kept if columns[place].rank]
        if not optional:
            break
        kept.remove(max(optional, key=lambda place: columns[place].rank))
    return kept


def print_table(to: Console, columns: Sequence[TableColumn], rows: Sequence[Sequence[Cell]]) -> None:
    """Print the columns that fit, and name the others on stderr."""
    kept = fitting(columns, rows, to.width)
    widths = [columns[place].widths([row[place] for row in rows]) for place in kept]
    left = to.width - sum(least for least, _ in widths) - GAP * (len(kept) - 1)
    table = Table(box=None, pad_edge=False)
    for place, (least, most) in zip(kept, widths, strict=True):
        width = min(most, least + max(left, 0))
        left -= width - least
        table.add_column(columns[place].name, no_wrap=True, overflow="ellipsis", width=width)
    for row in rows:
        table.add_row(*(row[place] for place in kept))
    to.print(table, soft_wrap=False)
    if left_out := [column.name for place, column in enumerate(columns) if place not in kept]:
        say(f"left out for want of width: {', '.join(left_out)} (--json prints all)")
