"""Handle what SQLite and PostgreSQL do differently."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVarTuple

from sqlalchemy import ARRAY, BigInteger, ColumnElement, Interval, Select, any_, cast, func, literal, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from interp.store.db.tables import Base, UtcTime

Columns = TypeVarTuple("Columns")
# The most that pgvector's `hnsw.ef_search` may be; an iterative scan goes on from there.
WIDEST_SCAN = 1000


def is_postgresql(session: Session) -> bool:
    return session.get_bind().dialect.name == "postgresql"


def skip_locked(statement: Select[*Columns], of: type[Base]) -> Select[*Columns]:
    """Return the SELECT with row locks on one table, skipping rows that are locked.

    On SQLite the transaction already holds the only write lock (BEGIN IMMEDIATE), and the clause compiles to nothing.
    """
    return statement.with_for_update(skip_locked=True, of=of)


def now(session: Session) -> datetime:
    """Return the time that decides leases: the database server's, or the local one for SQLite."""
    if is_postgresql(session):
        moment: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
        return moment.astimezone(UTC)
    return datetime.now(UTC)


def in_index_order(session: Session) -> None:
    """Make the planner read ordered rows along an index, until the transaction ends.

    Otherwise PostgreSQL may sort the filtered rows. Filters on correlated columns (score and lift) leave a hundred times the rows that it expects,
    and then it would sort them all for one page. Another function of this kind ends the effect.
    """
    _plan_with(session, enable_sort="off")


def by_any_index(session: Session) -> None:
    """Make the planner use the most selective index, until the transaction ends."""
    _plan_with(session, enable_sort="on", enable_seqscan="off")


def by_trigrams(session: Session) -> None:
    """Make the planner use the trigram index for text search, until the transaction ends."""
    _plan_with(session, enable_sort="on", enable_seqscan="off", enable_indexonlyscan="off")


@contextmanager
def lookups(session: Session) -> Iterator[None]:
    """Make the planner look up the rows of a join one by one.

    Words are in few labels, but where features share labels PostgreSQL expects many rows, and would read a whole table for them. A limited number of
    labels with a word that most have is found soonest by a scan, from the table's start each time.
    """
    _plan_with(session, enable_seqscan="on", synchronize_seqscans="off", enable_hashjoin="off", enable_mergejoin="off")
    yield
    _plan_with(session, enable_hashjoin="on", enable_mergejoin="on")


def has_trigrams(session: Session, table: type[Base]) -> bool:
    """Return whether the table has its trigram index (migration 0004, where the server can)."""
    if not is_postgresql(session):
        return False
    return session.execute(select(func.to_regclass(f"ix_{table.__tablename__}_trigrams").is_not(None))).scalar_one()


def has_code_index(session: Session) -> bool:
    """Return whether labels have pgvector's index of codes (migration 0024, where the server can)."""
    if not is_postgresql(session):
        return False
    return session.execute(select(func.to_regclass("ix_label_vectors_hnsw").is_not(None))).scalar_one()


def among(session: Session, column: Any, values: Sequence[int]) -> ColumnElement[bool]:
    """Return whether a column of integers has one of some values.

    They are one parameter on PostgreSQL, which plans thousands of them for longer than it looks them up. It is a text: the driver takes longer to
    write a list.
    """
    together = cast(literal(f"{{{','.join(map(str, values))}}}"), ARRAY(BigInteger))
    found: ColumnElement[bool] = column == any_(together) if is_postgresql(session) else column.in_(values)
    return found


def with_wide_search(session: Session, count: int) -> None:
    """Make pgvector's index return about `count` rows, until the transaction ends."""
    _plan_with(
        session,
        enable_sort="on",
        enable_seqscan="off",
        **{"hnsw.ef_search": str(min(count, WIDEST_SCAN)), "hnsw.iterative_scan": "relaxed_order", "hnsw.max_scan_tuples": str(4 * count)},
    )


def _plan_with(session: Session, **switches: str) -> None:
    """Set planner switches, and plan each statement for its own bounds."""
    if is_postgresql(session):
        switches |= {"plan_cache_mode": "force_custom_plan"}
        session.execute(select(*(func.set_config(name, value, True) for name, value in switches.items())))


def clock(session: Session, ahead: timedelta = timedelta()) -> ColumnElement[datetime]:
    """Return `now` plus some time as an expression, which on PostgreSQL needs no statement."""
    if is_postgresql(session):
        return func.clock_timestamp(type_=UtcTime()) + literal(ahead, Interval())
    return literal(datetime.now(UTC) + ahead, UtcTime())


def analyze(session: Session, table: type[Base]) -> None:
    """Update PostgreSQL's statistics of the table, which autovacuum would do minutes later."""
    if is_postgresql(session):
        session.execute(text(f"ANALYZE (SKIP_LOCKED) {table.__tablename__}"))


def is_disk_full(error: DBAPIError) -> bool:
    """Return whether a database error means that the disk is full (SQLITE_FULL, or PostgreSQL's 53100)."""
    return getattr(error.orig, "sqlstate", None) == "53100" or "database or disk is full" in str(error.orig)
