"""Many rows in one statement to PostgreSQL: an array a column, in the server's binary form, which the server takes apart.

A statement is put together once for each shape of rows, and arrays are packed here: of 64 rows of 20 columns, SQLAlchemy and the driver would make
more work than the server has with them. SQLite has no way there to save.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from struct import Struct
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnDefault,
    ColumnElement,
    CursorResult,
    Dialect,
    FromClause,
    Integer,
    LargeBinary,
    String,
    Text,
    bindparam,
    cast,
    column,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session
from sqlalchemy.types import JSON, Float, NullType, TypeEngine

from interp.store.db.storable import storable, storable_text
from interp.store.db.tables import Base

# Fewer rows than this are sooner written one by one.
FEWEST = 16
# Rows of one statement: all of them are in memory three times.
MOST = 10_000
PARAMETER, SHARED = "rows_", "all_"
# Among shared values: the time of the statement, by the clock that decides leases.
NOW: Final = object()

Tables = tuple[type[Base], ...]


class Values(list[Any]):
    """A column's values of a type that is not packed here. They go to the server as binary: as text, arrays take three times as long."""


@dataclass(frozen=True, slots=True)
class PackedColumn:
    """A column's values as PostgreSQL sends and takes an array; `oid` is the array's type."""

    oid: int
    data: bytes


@dataclass(frozen=True, slots=True)
class BulkRows:
    """The rows in a statement: `table` has those columns in which they differ, `shared` the others as expressions."""

    table: FromClause
    shared: Mapping[str, ColumnElement[Any]]


def is_worth_it(session: Session, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether these rows should go as arrays."""
    return session.get_bind().dialect.name == "postgresql" and len(rows) >= FEWEST


def table(of: Tables, names: Sequence[str], name: str = "given") -> FromClause:
    """The rows that `parameters` holds as a table with these columns, in their order."""
    kinds = {each: _kind(of, each) for each in names}
    arrays = [cast(bindparam(PARAMETER + each, type_=NullType()), ARRAY(kind)) for each, kind in kinds.items()]
    return func.unnest(*arrays).table_valued(*(column(each, kind) for each, kind in kinds.items()), name=name).render_derived(name=name)


def parameters(of: Tables, rows: Sequence[Mapping[str, Any]]) -> dict[str, PackedColumn | Values]:
    """The rows as a statement with their `table` takes them. Every row has the columns of the first one."""
    return {PARAMETER + name: _packer(of, name)([row[name] for row in rows]) for name in rows[0]}


def execute(
    session: Session, statement: Callable[[BulkRows], Any], of: Tables, rows: Sequence[Mapping[str, Any]], shared: Mapping[str, Any]
) -> CursorResult[Any]:
    """Runs what `statement` makes of the rows. It is called once for each shape of rows: it must be hashable, and stand for the same each time.

    `of` says of what tables' columns the rows are made, `shared` what is the same in all rows.
    """
    connection = session.connection()
    shape = tuple((name, value is NOW) for name, value in shared.items())
    sql, fixed = _compiled(statement, connection.dialect, of, tuple(rows[0]), shape)
    same = {SHARED + name: _scalar(_kind(of, name), value) for name, value in shared.items() if value is not NOW}
    return connection.exec_driver_sql(sql, fixed | same | parameters(of, rows))


@lru_cache(maxsize=256)
def _compiled(
    statement: Callable[[BulkRows], Any], dialect: Dialect, of: Tables, names: tuple[str, ...], shared: tuple[tuple[str, bool], ...]
) -> tuple[str, dict[str, Any]]:
    moment: ColumnElement[Any] = select(func.clock_timestamp()).scalar_subquery()
    same = {name: moment if is_now else cast(bindparam(SHARED + name, type_=NullType()), _kind(of, name)) for name, is_now in shared}
    compiled = statement(BulkRows(table(of, names), same)).compile(dialect=dialect)
    literals = {name: value for name, value in compiled.params.items() if not name.startswith((PARAMETER, SHARED))}
    defaults = {each.key: each.default.arg for each in compiled.insert_prefetch if isinstance(each.default, ColumnDefault)}
    return str(compiled), literals | defaults


@lru_cache(maxsize=1024)
def _kind(of: Tables, name: str) -> TypeEngine[Any]:
    """A column's type. Texts of any length: a cast to a shorter one would cut them off in silence, where an INSERT refuses."""
    found = next(each.__table__.c[name] for each in of if name in each.__table__.c)
    return Text() if isinstance(found.type, String) else found.type


def _scalar(kind: TypeEngine[Any], value: Any) -> Any:
    if not isinstance(kind, JSON) or value is None:
        return storable(value)
    from psycopg.types.json import Jsonb

    return Jsonb(storable(value))


@lru_cache(maxsize=1024)
def _packer(of: Tables, name: str) -> Callable[[Sequence[Any]], PackedColumn | Values]:
    """Of a column's values, None among them, makes what goes to the server; of text and JSON as `storable` has them."""
    kind = _kind(of, name)
    for its, (element, array, packed) in _PACKED.items():
        if isinstance(kind, its):
            return partial(_pack, element, array, packed)
    return Values


def _pack(element: int, array: int, packed: Callable[[Sequence[Any]], list[bytes]], values: Sequence[Any]) -> PackedColumn:
    return PackedColumn(array, b"".join((_HEAD.pack(1, 1, element, len(values), 1), *packed(values))))


# One dimension; a null may be among them; the type, the number of values, and that they are counted from 1.
_HEAD = Struct(">iiIii")
_LENGTH, _NULL = Struct(">i"), Struct(">i").pack(-1)


def _numbers(form: str) -> Callable[[Sequence[Any]], list[bytes]]:
    number = Struct(">i" + form)
    size, one = number.size - _LENGTH.size, number.pack
    return lambda values: [_NULL if value is None else one(size, value) for value in values]


def _bytes(values: Sequence[bytes | None]) -> list[bytes]:
    return [part for value in values for part in ((_NULL,) if value is None else (_LENGTH.pack(len(value)), value))]


def _texts(values: Sequence[str | None]) -> list[bytes]:
    known: dict[str | None, bytes] = {None: _NULL}
    return [known[value] if value in known else known.setdefault(value, _text(value)) for value in values]


def _text(value: str | None) -> bytes:
    data = storable_text(value or "").encode()
    return _LENGTH.pack(len(data)) + data


def _jsons(values: Sequence[Any]) -> list[bytes]:
    return [_NULL if value is None else _json(value) for value in values]


def _json(value: Any) -> bytes:
    written = _ENCODER(value)
    if "\\u0000" in written or "\\ud" in written:
        written = _ENCODER(storable(value))
    # The version of the binary form, which is the text.
    return b"%b\x01%b" % (_LENGTH.pack(len(written) + 1), written.encode())


_ENCODER = json.JSONEncoder().encode
# The types of elements and of arrays of them (pg_type). The first that fits: an Integer is any BigInteger, too.
_PACKED: dict[type[TypeEngine[Any]], tuple[int, int, Callable[[Sequence[Any]], list[bytes]]]] = {
    BigInteger: (20, 1016, _numbers("q")),
    Integer: (23, 1007, _numbers("i")),
    Float: (701, 1022, _numbers("d")),
    String: (25, 1009, _texts),
    LargeBinary: (17, 1001, _bytes),
    JSON: (3802, 3807, _jsons),
}
