"""Build pages of rows; a row that cannot be shown is listed as unreadable."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from api.reads import cursors
from api.schemas.base import Page, UnreadableRow
from interp.domain.errors import BlobCorruptError
from interp.store.listings.keyset import ListingPage

log = logging.getLogger(__name__)

Row = TypeVar("Row")
Item = TypeVar("Item")
Place = TypeVar("Place")
PageOfItems = TypeVar("PageOfItems", bound=Page[Any])
# Errors of a row that another program or an older version wrote; errors of the database itself are raised.
BROKEN = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, BlobCorruptError)


def filled(read: Callable[[Any, int], ListingPage[Row, Place]], limit: int, place: Any) -> tuple[list[Row], Place | None]:
    """Return a full page of rows (the last may be short), and the next place.

    One query may return fewer, since the store examines a bounded number of rows per query with a text.
    """
    found: list[Row] = []
    while True:
        page = read(place, limit - len(found))
        found += page.rows
        place = page.next
        if place is None or len(found) >= limit:
            return found, place


def build(
    kind: type[PageOfItems],
    rows: Sequence[Row],
    answers: Callable[[Sequence[Row]], Sequence[Item]],
    name: Callable[[Row], object],
    listing: dict[str, Any],
    place: tuple[Any, ...] | None,
) -> PageOfItems:
    """Return the page of some rows; `place` is where the next page begins, or None.

    Rows are read one by one after an error.
    """
    items: list[Item] = []
    unreadable: list[UnreadableRow] = []
    try:
        items += answers(rows)
    except BROKEN:
        for row in rows:
            try:
                items += answers([row])
            except BROKEN as error:
                log.warning("The stored row %s cannot be shown.", name(row), exc_info=error)
                unreadable.append(UnreadableRow(id=str(name(row)), why=f"{type(error).__name__}: what is stored is not what was written."))
    return kind(items=items, unreadable=unreadable, next_cursor=cursors.encode(listing, place))
