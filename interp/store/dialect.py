"""What SQLite and PostgreSQL do differently: the upsert, the claim, the clock, the word for a full disk. Nothing else asks which it is."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVarTuple

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from interp.store.tables import Base

Columns = TypeVarTuple("Columns")
Insert = postgresql.Insert | sqlite.Insert
Assignments = Callable[[Any], Mapping[str, ColumnElement[Any]]]


def insert(session: Session, table: type[Base]) -> Insert:
    """The dialect's own INSERT, the one that knows ON CONFLICT."""
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def upsert(
    session: Session,
    table: type[Base],
    rows: Sequence[Mapping[str, Any]],
    keys: Sequence[str],
    update: Sequence[str] | None = None,
    assign: Assignments | None = None,
) -> None:
    """Insert the rows, or write over those that have the same `keys` (a unique constraint).

    `update` names the columns to write over; all of the rows' other columns when None, none of them (first write wins) when empty.
    `assign` makes more assignments from the row that was to be inserted. Rows go in the order given: give the same order
    everywhere (by feature), so that two writers of the same rows cannot deadlock.
    """
    if not rows:
        return
    statement = insert(session, table)
    names = [name for name in rows[0] if name not in keys] if update is None else update
    values: dict[str, Any] = {name: statement.excluded[name] for name in names}
    values |= assign(statement.excluded) if assign else {}
    if values:
        statement = statement.on_conflict_do_update(index_elements=list(keys), set_=values)
    else:
        statement = statement.on_conflict_do_nothing(index_elements=list(keys))
    session.connection().execute(statement, [dict(row) for row in rows])


def unclaimed(statement: Select[*Columns], of: type[Base]) -> Select[*Columns]:
    """The same SELECT, that locks its rows of one table and passes over those that somebody else holds.

    On SQLite the transaction already holds the only write lock (BEGIN IMMEDIATE), and the clause compiles to nothing.
    """
    return statement.with_for_update(skip_locked=True, of=of)


def now(session: Session) -> datetime:
    """The one clock that decides leases: the database server's, or this machine's for the embedded database."""
    if session.get_bind().dialect.name == "postgresql":
        moment: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
        return moment.astimezone(UTC)
    return datetime.now(UTC)


def is_disk_full(error: DBAPIError) -> bool:
    """Whether a database error means that there is no room (SQLITE_FULL, or PostgreSQL's 53100)."""
    return getattr(error.orig, "sqlstate", None) == "53100" or "database or disk is full" in str(error.orig)
