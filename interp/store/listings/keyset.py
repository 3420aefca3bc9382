"""Read a page of a listing by scanning one index from the cursor.

Every listing has an index in its order that also holds all columns that its filters use, so that an entry that does not match costs 40 ns, and a page
costs the same at any depth. Correlated filters, as of score and lift, may match nothing for a million entries: where filters leave few rows in all,
these are found by the index of one filter, and sorted.

No such index can hold a part of a text. It is searched in the next `EXAMINED` rows; where it is rare there, in the trigram index, as long as at most
`RARE` rows have it. Otherwise the page ends after the rows examined, short or empty, with a cursor to continue from.

Nor do all of them hold every figure. Where one bound alone leaves at most `EXAMINED` rows, these are found by its own index, and sorted. Otherwise
the next `EXAMINED` rows are examined, as for a text.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, func, literal, null, select, union_all
from sqlalchemy.orm import Session, aliased

from interp.store.db.dialect import by_any_index, by_trigrams, has_trigrams, in_index_order
from interp.store.db.tables import Base

# Up to this many filtered rows are sorted faster than they are found in the listing's order.
FEW = 45_000
EXAMINED = 5_000
RARE = 5_000
# A text that more of the examined rows have is not searched in the trigram index: too many of a million rows would match.
FOUND_OF_RARE = 25
# pg_trgm makes trigrams of letters and digits only: for a text without three in a row it would read its whole index.
TRIGRAM = re.compile(r"[^\W_]{3}")

Row = TypeVar("Row", bound=Base)
Item = TypeVar("Item")
Place = TypeVar("Place", covariant=True)
Conditions = tuple[ColumnElement[bool], ...]


@dataclass(frozen=True, slots=True)
class Text:
    """A part of a column's text, A to Z in either case."""

    column: str
    part: str


@dataclass(frozen=True, slots=True)
class Bound:
    """Inclusive bounds of a column that has an index of its own."""

    column: str
    low: float | str | None = None
    high: float | str | None = None

    def of(self, row: Any) -> Conditions:
        """Return the conditions for a table or an alias of it."""
        column = getattr(row, self.column)
        return (*(() if self.low is None else (column >= self.low,)), *(() if self.high is None else (column <= self.high,)))


@dataclass(frozen=True, slots=True)
class KeysetListing(Generic[Row]):
    """A listing of one table.

    `parts` returns, for the table or an alias of it, the conditions of each range of the index, one after the other; they use only columns of `order`
    and of `covered`, which every index of the table has. The last column of `order` is the key of the rows for which `same` holds. `may_sort` says
    that another index than that of the order may lead to few rows. `uncovered` are bounds of other columns.
    """

    table: type[Row]
    order: tuple[str, ...]
    parts: Callable[[Any], Sequence[Conditions]]
    limit: int
    covered: tuple[str, ...]
    descending: bool = False
    text: Text | None = None
    same: Conditions = ()
    may_sort: bool = False
    uncovered: tuple[Bound, ...] = ()


@dataclass(frozen=True, slots=True)
class ListingPage(Generic[Item, Place]):
    """Rows of a page, and its last row or place (None on the last page)."""

    rows: tuple[Item, ...]
    next: Place | None


def read(session: Session, listing: KeysetListing[Row]) -> ListingPage[Row, Row]:
    """Read one page."""
    if listing.text is not None or listing.uncovered:
        few = _few(session, listing)
        in_index_order(session)
        return _examine(session, listing) if few is None else few
    keys: list[int] = []
    for part, statement in zip(listing.parts(listing.table), statements(listing), strict=True):
        found = _sorted(session, listing, part) if listing.may_sort else None
        if found is None:
            in_index_order(session)
            found = session.scalars(statement).all()
        keys += found
        if len(keys) > listing.limit:
            break
    return _cut(_rows(session, listing, keys[: listing.limit + 1]), listing.limit)


def statements(listing: KeysetListing[Row]) -> list[Select[Any]]:
    """Return one statement per part that finds a page's keys along its order.

    Each is run where the one before does not fill the page. For keys alone PostgreSQL always chooses the index that has all columns.
    """
    return [_keys(listing, listing.table, part) for part in listing.parts(listing.table)]


def _sorted(session: Session, listing: KeysetListing[Row], part: Conditions) -> Sequence[int] | None:
    """Return a page's keys by another index, sorted; None where rows are too many."""
    by_any_index(session)
    # An index that lacks a column requires reading each row itself.
    most = FEW if set(listing.order) <= set(listing.covered) else EXAMINED
    if session.execute(select(_key(listing)).where(*part).offset(most).limit(1)).first() is not None:
        return None
    # PostgreSQL plans a subquery with an OFFSET apart: otherwise it would follow the index of the outer order.
    few = select(*(getattr(listing.table, name) for name in listing.order)).where(*part).offset(0).subquery()
    return session.scalars(_keys(listing, aliased(listing.table, few), ())).all()


def _few(session: Session, listing: KeysetListing[Row]) -> ListingPage[Row, Row] | None:
    """Return a page of the few rows that one uncovered bound leaves; None for many."""
    for bound in listing.uncovered:
        by_any_index(session)
        within = (*listing.same, *bound.of(listing.table))
        if session.execute(select(_key(listing)).where(*within).offset(EXAMINED).limit(1)).first() is None:
            row = aliased(listing.table, select(listing.table).where(*within).offset(0).subquery())
            keys: list[int] = []
            for part in listing.parts(row):
                keys += session.scalars(_keys(listing, row, (*part, *_examined(listing, row)))).all()
            return _cut(_rows(session, listing, keys[: listing.limit + 1]), listing.limit)
    return None


def _examine(session: Session, listing: KeysetListing[Row]) -> ListingPage[Row, Row]:
    """Return a page of the next `EXAMINED` rows with text and uncovered bounds."""
    rows: list[Row] = []
    for part in listing.parts(listing.table):
        rows += session.scalars(_search_next(listing, part).limit(listing.limit + 1 - len(rows)))
        if len(rows) > listing.limit:
            return _cut(rows, listing.limit)
        stopped = session.scalars(_ordered(listing, listing.table, part).offset(EXAMINED - 1).limit(1)).first()
        if stopped is not None:
            everywhere = _search_trigrams(session, listing) if _may_use_trigrams(session, listing, len(rows)) else None
            return everywhere or ListingPage(tuple(rows), stopped)
    return ListingPage(tuple(rows), None)


def _search_next(listing: KeysetListing[Row], part: Conditions) -> Select[Any]:
    """Return a query for rows that pass among the next `EXAMINED` of a part."""
    row = aliased(listing.table, _ordered(listing, listing.table, part).limit(EXAMINED).subquery())
    return _in_order(select(row).where(*_examined(listing, row)), listing, row)


def _may_use_trigrams(session: Session, listing: KeysetListing[Row], found: int) -> bool:
    is_indexed = listing.text is not None and TRIGRAM.search(listing.text.part) is not None
    return is_indexed and found <= FOUND_OF_RARE and has_trigrams(session, listing.table)


def _search_trigrams(session: Session, listing: KeysetListing[Row]) -> ListingPage[Row, Row] | None:
    """Return a page by the trigram index; None where too many rows match."""
    by_trigrams(session)
    having = select(*_columns(listing)).where(*listing.same, _contains(listing, listing.table)).limit(RARE + 1).cte("having")
    number = select(literal(-1).label("part"), null().label("key"), func.count().label("number")).select_from(having)
    row = aliased(listing.table, having)
    bounds = [condition for bound in listing.uncovered for condition in bound.of(row)]
    parts = [select(literal(place), _keys(listing, row, (*part, *bounds)).subquery(), literal(0)) for place, part in enumerate(listing.parts(row))]
    found = sorted(session.execute(union_all(number, *parts)), key=lambda line: line.part)
    if found[0].number > RARE:
        return None
    return _cut(_rows(session, listing, [line.key for line in found[1:][: listing.limit + 1]]), listing.limit)


def _columns(listing: KeysetListing[Row]) -> list[Any]:
    names = (*listing.covered, *listing.order, *(bound.column for bound in listing.uncovered))
    return [getattr(listing.table, name) for name in dict.fromkeys(names)]


def _rows(session: Session, listing: KeysetListing[Row], keys: Sequence[int]) -> list[Row]:
    """Return the rows with these keys, in the keys' order."""
    key = _key(listing)
    rows = {getattr(row, key.key): row for row in session.scalars(select(listing.table).where(*listing.same, key.in_(keys)))}
    return [rows[each] for each in keys if each in rows]


def _key(listing: KeysetListing[Row]) -> Any:
    return getattr(listing.table, listing.order[-1])


def _keys(listing: KeysetListing[Row], row: Any, part: Conditions) -> Select[Any]:
    return _ordered(listing, row, part).with_only_columns(getattr(row, listing.order[-1])).limit(listing.limit + 1)


def _ordered(listing: KeysetListing[Row], row: Any, part: Conditions) -> Select[Any]:
    return _in_order(select(row).where(*part), listing, row)


def _in_order(statement: Select[Any], listing: KeysetListing[Row], row: Any) -> Select[Any]:
    terms = [getattr(row, name) for name in listing.order]
    return statement.order_by(*(term.desc() if listing.descending else term.asc() for term in terms))


def _examined(listing: KeysetListing[Row], row: Any) -> Conditions:
    """Return the conditions that only rows themselves answer."""
    bounds = [condition for bound in listing.uncovered for condition in bound.of(row)]
    return (*bounds, *(() if listing.text is None else (_contains(listing, row),)))


def _contains(listing: KeysetListing[Row], row: Any) -> ColumnElement[bool]:
    assert listing.text is not None
    escaped = listing.text.part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    found: ColumnElement[bool] = getattr(row, listing.text.column).ilike(f"%{escaped}%", escape="\\")
    return found


def _cut(rows: Sequence[Row], limit: int) -> ListingPage[Row, Row]:
    return ListingPage(tuple(rows[:limit]), rows[limit - 1] if len(rows) > limit else None)
