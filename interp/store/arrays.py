"""Many rows in one statement to PostgreSQL: an array a column, in the driver's binary form, which the server takes apart.

Of 64 rows it takes as long as the same INSERT over and over, of some hundred half as long, and the server parses and answers once.
SQLite has no way there to save.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg.types.array import ListBinaryDumper
from psycopg.types.json import Jsonb
from sqlalchemy import FromClause, bindparam, cast, column, func
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session
from sqlalchemy.types import JSON, NullType

from interp.store.tables import Base

# Fewer rows than this are sooner written one by one.
FEWEST = 16
# Rows of one statement: all of them are in memory three times.
MOST = 10_000
PARAMETER = "rows_"


class Values(list[Any]):
    """A column's values, that go to the server as binary: as text, arrays of figures take three times as long."""


psycopg.adapters.register_dumper(Values, ListBinaryDumper)


def is_worth_it(session: Session, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether these rows should go as arrays."""
    return session.get_bind().dialect.name == "postgresql" and len(rows) >= FEWEST


def table(of: type[Base], names: Sequence[str], name: str = "given") -> FromClause:
    """The rows that `parameters` holds as a table with these columns, in their order."""
    columns = of.__table__.c
    arrays = [cast(bindparam(PARAMETER + each, type_=NullType()), ARRAY(columns[each].type)) for each in names]
    return func.unnest(*arrays).table_valued(*(column(each, columns[each].type) for each in names), name=name).render_derived(name=name)


def parameters(of: type[Base], rows: Sequence[Mapping[str, Any]]) -> dict[str, Values]:
    """The rows as a statement with their `table` takes them. Every row has the columns of the first one."""
    return {PARAMETER + name: _values(of.__table__.c[name].type, [row[name] for row in rows]) for name in rows[0]}


def _values(kind: Any, values: Sequence[Any]) -> Values:
    if isinstance(kind, JSON):
        return Values(None if value is None else Jsonb(value) for value in values)
    return Values(values)
