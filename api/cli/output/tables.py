"""Tables that fit the window: columns that matter less are left out, and none is cut in the middle of a figure."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from api.cli.output.console import say

GAP = 2


@dataclass(frozen=True, slots=True)
class TableColumn:
    """One column. Those of the highest `rank` are left out first, those of rank 0 never. A text may be cut to `least` characters."""

    name: str
    rank: int = 0
    least: int | None = None


Cell = str | Text


def fitting(columns: Sequence[TableColumn], rows: Sequence[Sequence[Cell]], width: int) -> list[int]:
    """The places of the columns that fit into `width` characters, in their order."""
    widths = [_width(column, [row[place] for row in rows]) for place, column in enumerate(columns)]
    kept = list(range(len(columns)))
    while sum(widths[place] for place in kept) + GAP * (len(kept) - 1) > width:
        droppable = [place for place in kept if columns[place].rank]
        if not droppable:
            break
        kept.remove(max(droppable, key=lambda place: columns[place].rank))
    return kept


def print_table(to: Console, columns: Sequence[TableColumn], rows: Sequence[Sequence[Cell]]) -> None:
    """Prints what fits, and says on standard error what did not."""
    kept = fitting(columns, rows, to.width)
    cells = {place: [row[place] for row in rows] for place in kept}
    left = to.width - sum(_width(columns[place], cells[place]) for place in kept) - GAP * (len(kept) - 1)
    table = Table(box=None, pad_edge=False)
    for place in kept:
        least = _width(columns[place], cells[place])
        width = min(_natural(columns[place], cells[place]), least + max(left, 0))
        left -= width - least
        table.add_column(columns[place].name, no_wrap=True, overflow="ellipsis", width=width)
    for row in rows:
        table.add_row(*(row[place] for place in kept))
    to.print(table, soft_wrap=False)
    if left_out := [column.name for place, column in enumerate(columns) if place not in kept]:
        say(f"left out for want of width: {', '.join(left_out)} (--json prints all)")


def _width(column: TableColumn, cells: Sequence[Cell]) -> int:
    """The fewest characters that the column can do with."""
    natural = _natural(column, cells)
    return natural if column.least is None else min(natural, max(column.least, len(column.name)))


def _natural(column: TableColumn, cells: Sequence[Cell]) -> int:
    return max([len(column.name), *(Text(cell).cell_len if isinstance(cell, str) else cell.cell_len for cell in cells)])
