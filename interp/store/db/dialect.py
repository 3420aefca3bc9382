"""What SQLite and PostgreSQL do differently: the clock, the claim of rows, the plan of a listing, the error of a full disk."""

from datetime import UTC, datetime, timedelta
from typing import TypeVarTuple

from sqlalchemy import ColumnElement, Interval, Select, func, literal, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from interp.store.db.tables import Base, UtcTime

Columns = TypeVarTuple("Columns")


def is_postgresql(session: Session) -> bool:
    return session.get_bind().dialect.name == "postgresql"


def skip_locked(statement: Select[*Columns], of: type[Base]) -> Select[*Columns]:
    """Return the SELECT with a lock on its rows of one table that skips rows which another transaction has locked.

    On SQLite the transaction already holds the only write lock (BEGIN IMMEDIATE), and the clause compiles to nothing.
    """
    return statement.with_for_update(skip_locked=True, of=of)


def now(session: Session) -> datetime:
    """Return the time by the clock that decides leases: the database server's, or this machine's for SQLite."""
    if is_postgresql(session):
        moment: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
        return moment.astimezone(UTC)
    return datetime.now(UTC)


def in_index_order(session: Session) -> None:
    """Plan until the transaction ends, or until another function is called, so that ordered rows are read along an index.

    PostgreSQL weighs that against sorting the filtered rows. Filters on correlated columns (score and lift) leave a hundred times the rows that it
    expects, and then it would sort them all for one page.
    """
    _plan_with(session, enable_sort="off")


def by_any_index(session: Session) -> None:
    """Plan until the transaction ends with the index that leads to the fewest rows, which may be sorted."""
    _plan_with(session, enable_sort="on", enable_seqscan="off")


def by_trigrams(session: Session) -> None:
    """Plan until the transaction ends with the trigram index for a part of a text. What is found may be sorted."""
    _plan_with(session, enable_sort="on", enable_seqscan="off", enable_indexonlyscan="off")


def has_trigrams(session: Session, table: type[Base]) -> bool:
    """Return whether the table has its trigram index, which migration 0004 makes where the server can."""
    if not is_postgresql(session):
        return False
    return session.execute(select(func.to_regclass(f"ix_{table.__tablename__}_trigrams").is_not(None))).scalar_one()


def _plan_with(session: Session, **switches: str) -> None:
    """Set planner switches. Each statement is planned for its own bounds, not as a prepared one is after five executions."""
    if is_postgresql(session):
        switches |= {"plan_cache_mode": "force_custom_plan"}
        session.execute(select(*(func.set_config(name, value, True) for name, value in switches.items())))


def clock(session: Session, ahead: timedelta = timedelta()) -> ColumnElement[datetime]:
    """Return `now` plus some time as an expression: on PostgreSQL it takes no statement of its own."""
    if is_postgresql(session):
        return func.clock_timestamp(type_=UtcTime()) + literal(ahead, Interval())
    return literal(datetime.now(UTC) + ahead, UtcTime())


def analyze(session: Session, table: type[Base]) -> None:
    """Update PostgreSQL's statistics of the table, which it would do only minutes after many rows were written."""
    if is_postgresql(session):
        session.execute(text(f"ANALYZE (SKIP_LOCKED) {table.__tablename__}"))


def is_disk_full(error: DBAPIError) -> bool:
    """Return whether a database error means that the disk is full (SQLITE_FULL, or PostgreSQL's 53100)."""
    return getattr(error.orig, "sqlstate", None) == "53100" or "database or disk is full" in str(error.orig)
