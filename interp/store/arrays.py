"""Many rows at once to PostgreSQL: COPY into a temporary table, from which one statement takes them on. SQLite has no way there to save.

Of small rows this writes twice as many a second as the same INSERT over and over. Rows with a blob are the exception: it would be written twice.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from psycopg.types.json import Jsonb
from sqlalchemy import LargeBinary, TableClause, column, table
from sqlalchemy.orm import Session

from interp.store.tables import Base

# Fewer rows than this are sooner written one by one.
FEWEST = 64
# Rows of one COPY: so few that a scan of them starts at the first one, which keeps their order (`synchronize_seqscans`).
MOST = 10_000


def is_worth_it(session: Session, of: type[Base], rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether these rows should be staged."""
    if session.get_bind().dialect.name != "postgresql" or len(rows) < FEWEST:
        return False
    return not any(isinstance(of.__table__.c[name].type, LargeBinary) for name in rows[0])


def staged(session: Session, of: type[Base], rows: Sequence[Mapping[str, Any]]) -> Iterator[TableClause]:
    """The rows as temporary tables that hold them in the order given, one after the other: each is gone when the next one comes.

    Every row has the columns of the first one.
    """
    names = list(rows[0])
    name = f"staged_{of.__tablename__}"
    connection = session.connection()
    connection.exec_driver_sql(f"CREATE TEMPORARY TABLE IF NOT EXISTS {name} AS TABLE {of.__tablename__} WITH NO DATA")
    for start in range(0, len(rows), MOST):
        connection.exec_driver_sql(f"TRUNCATE {name}")
        _copy(connection.connection.driver_connection, name, names, rows[start : start + MOST])
        yield table(name, *(column(each, of.__table__.c[each].type) for each in names))


def _copy(driver: Any, name: str, names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    columns = ", ".join(names)
    with driver.cursor() as cursor:
        types = [each.type_code for each in cursor.execute(f"SELECT {columns} FROM {name} LIMIT 0").description]
        json = [each for each, kind in zip(names, types, strict=True) if kind == driver.adapters.types["jsonb"].oid]
        with cursor.copy(f"COPY {name} ({columns}) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(types)
            for row in rows:
                wrapped = {each: Jsonb(row[each]) for each in json if row[each] is not None}
                copy.write_row([wrapped.get(each, row[each]) for each in names])
