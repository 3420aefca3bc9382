"""What SQLite and PostgreSQL do differently: the upsert, the claim, the clock, the plan of a listing, the word for a full disk.

Nothing else asks which it is, but `arrays.py`, which knows PostgreSQL alone.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final, TypeVarTuple

from sqlalchemy import ColumnElement, FromClause, Interval, Row, Select, and_, bindparam, func, literal, or_, select, text
from sqlalchemy import update as update_of
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from interp.store.db import bulk_insert
from interp.store.db.storable import storable
from interp.store.db.tables import Base, UtcTime

Columns = TypeVarTuple("Columns")
Insert = postgresql.Insert | sqlite.Insert
Assignments = Callable[[Any], Mapping[str, ColumnElement[Any]]]
NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


def insert(session: Session, table: type[Base]) -> Insert:
    """The dialect's own INSERT, the one that knows ON CONFLICT."""
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


@dataclass(frozen=True, slots=True)
class Upsert:
    """An INSERT that writes over the rows that have the same `keys` (a unique constraint).

    `update` names the columns to write over: None is all of the rows' other columns, and none at all lets the first write win. `assign` makes more
    assignments from the row that was to be inserted; `where` says which rows may be written over. Give the same functions and clauses each time:
    a statement is put together once for each that is not equal to one before.
    """

    table: type[Base]
    keys: tuple[str, ...]
    update: tuple[str, ...] | None = None
    assign: Assignments | None = None
    where: ColumnElement[bool] | None = None

    def __call__(self, given: bulk_insert.BulkRows) -> Any:
        return self.of(given.table, given.shared)

    def of(self, rows: FromClause, shared: Mapping[str, ColumnElement[Any]]) -> Any:
        """For PostgreSQL: the rows of a table, each with what is the same in all of them; columns that the target has not are left out."""
        names = [each.name for each in rows.c if each.name in self.table.__table__.c]
        statement = postgresql.insert(self.table).from_select([*shared, *names], select(*shared.values(), *(rows.c[name] for name in names)))
        return self.resolved(statement, [*shared, *names])

    def resolved(self, statement: Insert, columns: Sequence[str]) -> Any:
        """The statement with what it does where a row is there."""
        names = [name for name in columns if name not in self.keys] if self.update is None else self.update
        values: dict[str, Any] = {name: statement.excluded[name] for name in names}
        values |= self.assign(statement.excluded) if self.assign else {}
        if values:
            return statement.on_conflict_do_update(index_elements=list(self.keys), set_=values, where=self.where)
        return statement.on_conflict_do_nothing(index_elements=list(self.keys))


def upsert(
    session: Session,
    table: type[Base],
    rows: Sequence[Mapping[str, Any]],
    keys: Sequence[str],
    update: Sequence[str] | None = None,
    assign: Assignments | None = None,
) -> None:
    """Insert the rows, or write over those that have the same `keys`: see `Upsert`."""
    write(session, Upsert(table, tuple(keys), None if update is None else tuple(update), assign), rows)


def write(session: Session, upsert: Upsert, rows: Sequence[Mapping[str, Any]], shared: Mapping[str, Any] = NOTHING) -> None:
    """Inserts the rows; `shared` is the same in all of them, and `arrays.NOW` there is the time of the one clock. Text becomes `storable`.

    Rows go in the order given: give the same order everywhere (by feature), so that two writers of the same rows cannot deadlock.
    """
    for some in portions(rows):
        if bulk_insert.is_worth_it(session, some):
            bulk_insert.execute(session, upsert, (upsert.table,), some, shared)
        else:
            statement = upsert.resolved(insert(session, upsert.table), [*shared, *some[0]])
            session.connection().execute(statement, plain(session, some, shared))


def write_for(session: Session, upsert: Upsert, rows: Sequence[Mapping[str, Any]], shared: Mapping[str, Any], *columns: Any) -> Sequence[Row[Any]]:
    """The same one by one, for few rows or SQLite; gives the `columns` of each row as it then is, in any order."""
    statement = upsert.resolved(insert(session, upsert.table), [*shared, *rows[0]]).returning(*columns)
    return session.connection().execute(statement, plain(session, rows, shared)).all()


def portions(rows: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[Mapping[str, Any]]]:
    """As many rows at a time as go into one statement."""
    return (rows[start : start + bulk_insert.MOST] for start in range(0, len(rows), bulk_insert.MOST))


def plain(session: Session, rows: Sequence[Mapping[str, Any]], shared: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows as a statement with a parameter a column takes them."""
    moment = now(session) if bulk_insert.NOW in shared.values() else None
    same = {name: moment if value is bulk_insert.NOW else value for name, value in shared.items()}
    return [{name: storable(value) for name, value in (same | dict(row)).items()} for row in rows]


def change(session: Session, table: type[Base], rows: Sequence[Mapping[str, Any]], keys: Sequence[str], *where: ColumnElement[bool]) -> None:
    """Update the rows that have the same `keys` (of their primary key) and are as `where` says, but for those that are so already.

    The rows are locked in the order of their keys, like everywhere.
    """
    if not rows:
        return
    columns = table.__table__.c
    names = [name for name in rows[0] if name not in keys]
    if not bulk_insert.is_worth_it(session, rows):
        new = {name: bindparam(f"new_{name}", type_=columns[name].type) for name in rows[0]}
        statement = _change(table, new, keys, names, where)
        session.connection().execute(statement, [{f"new_{name}": value for name, value in row.items()} for row in rows])
        return
    given, parameters = bulk_insert.table((table,), list(rows[0])), bulk_insert.parameters((table,), rows)
    matches = [columns[key] == given.c[key] for key in keys]
    held = select(columns[keys[0]]).join(given, and_(*matches)).where(*where).order_by(*(given.c[key] for key in keys))
    session.execute(select(func.count()).select_from(held.with_for_update(of=table).subquery()), parameters)
    session.connection().execute(_change(table, dict(given.c), keys, names, where), parameters)


def _change(table: type[Base], new: Mapping[str, Any], keys: Sequence[str], names: Sequence[str], where: Sequence[ColumnElement[bool]]) -> Any:
    columns = table.__table__.c
    differs = or_(*(columns[name].is_distinct_from(new[name]) for name in names))
    return update_of(table).where(*(columns[key] == new[key] for key in keys), *where, differs).values({name: new[name] for name in names})


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
    if session.get_bind().dialect.name != "postgresql":
        return False
    return session.execute(select(func.to_regclass(f"ix_{table.__tablename__}_trigrams").is_not(None))).scalar_one()


def _plan_with(session: Session, **switches: str) -> None:
    """Each statement is planned for what it asks: a prepared one that was asked five times may be planned for anything, and a bound be anywhere."""
    if session.get_bind().dialect.name == "postgresql":
        switches |= {"plan_cache_mode": "force_custom_plan"}
        session.execute(select(*(func.set_config(name, value, True) for name, value in switches.items())))


def clock(session: Session, ahead: timedelta = timedelta()) -> ColumnElement[datetime]:
    """`now`, and so much more, as an expression for statements that write it: on PostgreSQL it costs no question of its own."""
    if session.get_bind().dialect.name == "postgresql":
        return func.clock_timestamp(type_=UtcTime()) + literal(ahead, Interval())
    return literal(datetime.now(UTC) + ahead, UtcTime())


def learn(session: Session, table: type[Base]) -> None:
    """Tells PostgreSQL to look at the table anew: it plans by what it knows, and would hear of many new rows only minutes later."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text(f"ANALYZE (SKIP_LOCKED) {table.__tablename__}"))


def is_disk_full(error: DBAPIError) -> bool:
    """Whether a database error means that there is no room (SQLITE_FULL, or PostgreSQL's 53100)."""
    return getattr(error.orig, "sqlstate", None) == "53100" or "database or disk is full" in str(error.orig)
