"""Insert, upsert and update many rows in one statement.

PostgreSQL receives the rows as one JSON document (`json_populate_recordset`); SQLite, where that saves no round trip, row after row. Rows are written
in the given order: use one order everywhere (by feature), so that writers cannot deadlock.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Row, Text, and_, bindparam, cast, column, func, literal_column, or_, select
from sqlalchemy import update as update_of
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from interp.store.db.dialect import is_postgresql
from interp.store.db.tables import Base
from interp.store.db.text import storable

ROWS_PER_STATEMENT = 1_000

Rows = Sequence[Mapping[str, Any]]
Insert = postgresql.Insert | sqlite.Insert


def insert(session: Session, table: type[Base]) -> Insert:
    """Return the dialect's own INSERT, which has ON CONFLICT."""
    return postgresql.insert(table) if is_postgresql(session) else sqlite.insert(table)


def upsert(
    session: Session,
    table: type[Base],
    rows: Rows,
    keys: Sequence[str],
    update: Sequence[str] | None = None,
    assign: Callable[[Any], Mapping[str, ColumnElement[Any]]] = lambda _excluded: {},
    where: ColumnElement[bool] | None = None,
    returning: Sequence[Any] = (),
) -> list[Row[Any]]:
    """Insert rows, or overwrite those with the same `keys` (a unique constraint).

    Returns the columns `returning` of written rows, in any order. `update` names the overwritten columns (default: all others; none: the first write
    wins). `assign` makes more assignments from the new row. `where` says which rows may be overwritten. Texts become `storable`.
    """
    found: list[Row[Any]] = []
    for start in range(0, len(rows), ROWS_PER_STATEMENT):
        some = rows[start : start + ROWS_PER_STATEMENT]
        names = list(some[0])
        statement: Any = insert(session, table)
        written_over = [name for name in names if name not in keys] if update is None else update
        values = {name: statement.excluded[name] for name in written_over} | dict(assign(statement.excluded))
        if is_postgresql(session):
            recordset = _recordset(table, some)
            statement = statement.from_select(names, select(*(recordset.c[name] for name in names)))
        if values:
            statement = statement.on_conflict_do_update(index_elements=list(keys), set_=values, where=where)
        else:
            statement = statement.on_conflict_do_nothing(index_elements=list(keys))
        parameters = None if is_postgresql(session) else [{name: storable(value) for name, value in row.items()} for row in some]
        result = session.connection().execute(statement.returning(*returning) if returning else statement, parameters)
        found += result.all() if returning else ()
    return found


def update_rows(session: Session, table: type[Base], rows: Rows, keys: Sequence[str]) -> None:
    """Update the rows with the same `keys` (of their primary key) whose values differ.

    The rows are locked in the order given.
    """
    if not rows:
        return
    if is_postgresql(session):
        new = _recordset(table, rows)
        columns = table.__table__.c
        same = and_(*(columns[key] == new.c[key] for key in keys))
        locked = select(columns[keys[0]]).join(new, same).order_by(*(new.c[key] for key in keys)).with_for_update(of=table)
        session.execute(select(func.count()).select_from(locked.subquery()))
        session.connection().execute(_update(table, dict(new.c), keys))
    else:
        parameters = {name: bindparam(f"new_{name}", type_=table.__table__.c[name].type) for name in rows[0]}
        session.connection().execute(_update(table, parameters, keys), [{f"new_{name}": value for name, value in row.items()} for row in rows])


def _update(table: type[Base], new: Mapping[str, Any], keys: Sequence[str]) -> Any:
    columns = table.__table__.c
    values = {name: value for name, value in new.items() if name not in keys}
    differs = or_(*(columns[name].is_distinct_from(value) for name, value in values.items()))
    return update_of(table).where(*(columns[key] == new[key] for key in keys), differs).values(values)


def _recordset(table: type[Base], rows: Rows) -> FromClause:
    """Return the rows as a server-side table with the first row's columns."""
    columns = [column(name, table.__table__.c[name].type) for name in rows[0]]
    document = cast(bindparam("rows", _document(rows), type_=Text()), postgresql.JSON())
    return func.json_populate_recordset(literal_column(f"NULL::{table.__tablename__}"), document).table_valued(*columns, name="given")


def _document(rows: Rows) -> str:
    document = json.dumps(rows, default=_json_value)
    # A NUL or a lone surrogate may be among these escapes.
    return json.dumps(storable(rows), default=_json_value) if "\\u0000" in document or "\\ud" in document else document


def _json_value(value: Any) -> Any:
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} cannot be written")
