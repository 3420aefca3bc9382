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


def unclaimed(statement: Select[*Columns], of: type[Base]) -> Select[*Columns]:
    """The same SELECT, that locks its rows of one table and passes over those that somebody else holds.

    On SQLite the transaction already holds the only write lock (BEGIN IMMEDIATE), and the clause compiles to nothing.
    """
    return statement.with_for_update(skip_locked=True, of=of)


def now(session: Session) -> datetime:
    """The one clock that decides leases: the database server's, or this machine's for the embedded database."""
    if is_postgresql(session):
        moment: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
        return moment.astimezone(UTC)
    return datetime.now(UTC)


def in_index_order(session: Session) -> None:
    """Until the transaction ends, or one of the next two is called, rows that are asked for in the order of an index are read along it.

    PostgreSQL weighs that against sorting what passes the filters; but filters on figures that go together (score and lift) let pass a hundred times
    what it expects, and then it sorts them all for one page.
    """
    _plan_with(session, enable_sort="off")


def by_any_index(session: Session) -> None:
    """Until the transaction ends, rows are looked for in the index that leads to the fewest, and what is found may be sorted."""
    _plan_with(session, enable_sort="on", enable_seqscan="off")


def by_trigrams(session: Session) -> None:
    """Until the transaction ends, a part of a text is looked for in the index of trigrams, and what is found may be sorted."""
    _plan_with(session, enable_sort="on", enable_seqscan="off", enable_indexonlyscan="off")


def has_trigrams(session: Session, table: type[Base]) -> bool:
    """Whether the table has its index of trigrams: migration 0004 makes it where the server can."""
    if not is_postgresql(session):
        return False
    return session.execute(select(func.to_regclass(f"ix_{table.__tablename__}_trigrams").is_not(None))).scalar_one()


def _plan_with(session: Session, **switches: str) -> None:
    """Each statement is planned for what it asks: a prepared one that was asked five times may be planned for anything, and a bound be anywhere."""
    if is_postgresql(session):
        switches |= {"plan_cache_mode": "force_custom_plan"}
        session.execute(select(*(func.set_config(name, value, True) for name, value in switches.items())))


def clock(session: Session, ahead: timedelta = timedelta()) -> ColumnElement[datetime]:
    """`now`, and so much more, as an expression for statements that write it: on PostgreSQL it costs no question of its own."""
    if is_postgresql(session):
        return func.clock_timestamp(type_=UtcTime()) + literal(ahead, Interval())
    return literal(datetime.now(UTC) + ahead, UtcTime())


def analyze(session: Session, table: type[Base]) -> None:
    """Tells PostgreSQL to look at the table anew: it plans by what it knows, and would hear of many new rows only minutes later."""
    if is_postgresql(session):
        session.execute(text(f"ANALYZE (SKIP_LOCKED) {table.__tablename__}"))


def is_disk_full(error: DBAPIError) -> bool:
    """Whether a database error means that there is no room (SQLITE_FULL, or PostgreSQL's 53100)."""
    return getattr(error.orig, "sqlstate", None) == "53100" or "database or disk is full" in str(error.orig)
