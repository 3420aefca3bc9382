"""Insert, upsert and update many rows.

Rows are written in the given order: use one order everywhere (by feature), so that writers cannot deadlock.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Row, bindparam, or_
from sqlalchemy import update as update_of
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from interp.store.db.dialect import is_postgresql
from interp.store.db.tables import Base
from interp.store.db.text import storable

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
    add: Sequence[str] = (),
    where: ColumnElement[bool] | None = None,
    returning: Sequence[Any] = (),
) -> list[Row[Any]]:
    """Insert rows, or overwrite those with the same `keys` (a unique constraint).

    Returns the columns `returning` of written rows, in any order. `update` names the overwritten columns (default: all others; none: the first write
    wins). The new row's values are added to those of the columns `add`. `where` says which rows may be overwritten. Texts become `storable`.
    """
    if not rows:
        return []
    written_over = [name for name in rows[0] if name not in keys] if update is None else update
    statement = _upserting(is_postgresql(session), table, tuple(keys), tuple(written_over), tuple(add), where, tuple(returning))
    parameters = [{name: storable(value) for name, value in row.items()} for row in rows]
    result = session.connection().execute(statement, parameters)
    return list(result.all()) if returning else []


# Cached, since building a statement takes longer than writing a few rows.
@lru_cache(maxsize=256)
def _upserting(
    is_postgresql: bool,
    table: type[Base],
    keys: tuple[str, ...],
    update: tuple[str, ...],
    add: tuple[str, ...],
    where: ColumnElement[bool] | None,
    returning: tuple[Any, ...],
) -> Any:
    statement: Any = postgresql.insert(table) if is_postgresql else sqlite.insert(table)
    new, old = statement.excluded, table.__table__.c
    values = {name: new[name] for name in update} | {name: old[name] + new[name] for name in add}
    if values:
        statement = statement.on_conflict_do_update(index_elements=keys, set_=values, where=where)
    else:
        statement = statement.on_conflict_do_nothing(index_elements=keys)
    return statement.returning(*returning) if returning else statement


def update_rows(session: Session, table: type[Base], rows: Rows, keys: Sequence[str]) -> None:
    """Update the rows with the same `keys` (of their primary key) whose values differ."""
    if not rows:
        return
    columns = table.__table__.c
    new: dict[str, Any] = {name: bindparam(f"new_{name}", type_=columns[name].type) for name in rows[0]}
    values = {name: value for name, value in new.items() if name not in keys}
    differs = or_(*(columns[name].is_distinct_from(value) for name, value in values.items()))
    statement = update_of(table).where(*(columns[key] == new[key] for key in keys), differs).values(values)
    session.connection().execute(statement, [{f"new_{name}": storable(value) for name, value in row.items()} for row in rows])
