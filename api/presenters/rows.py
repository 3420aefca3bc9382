"""Pages of rows: one that cannot be shown is named, and takes no other with it."""

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from api.schemas.base import UnreadableRow
from interp.domain.errors import BlobCorruptError

log = logging.getLogger(__name__)

Row = TypeVar("Row")
Shown = TypeVar("Shown")
# What a row that somebody wrote past the store, or an older version, can raise; a database that does not answer is none of it.
BROKEN = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, BlobCorruptError)


def shown(
    rows: Sequence[Row], answers: Callable[[Sequence[Row]], Sequence[Shown]], name: Callable[[Row], object]
) -> tuple[list[Shown], list[UnreadableRow]]:
    """The answers of a page's rows, and the rows that have none. `answers` is asked for all at once, and row by row only where that fails."""
    try:
        return list(answers(rows)), []
    except BROKEN:
        found: list[Shown] = []
        left_out: list[UnreadableRow] = []
    for row in rows:
        try:
            found += answers([row])
        except BROKEN as error:
            log.warning("The stored row %s cannot be shown.", name(row), exc_info=error)
            left_out.append(UnreadableRow(id=str(name(row)), why=f"{type(error).__name__}: what is stored is not what was written."))
    return found, left_out
