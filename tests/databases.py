"""Databases for tests: at the newest revision, and without a row."""

import atexit
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from weakref import WeakSet

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Engine, event, make_url, text

from interp.store import migrate
from interp.store.db.engine import make_engine
from interp.store.db.revision import is_current
from interp.store.db.tables import Base

WITH_PAGES = text("SELECT relname FROM pg_class WHERE relname = ANY(:names) AND relkind = 'r' AND pg_relation_size(oid) > 0")
ENGINES: WeakSet[Engine] = WeakSet()
USED_SEQUENCES = text("SELECT sequencename FROM pg_sequences WHERE schemaname = current_schema() AND last_value IS NOT NULL")


def upgrade(url: str) -> None:
    """Brings a database to the newest revision.

    A new SQLite file is a copy of one that was upgraded, others are upgraded as a user does.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and not (path := Path(str(parsed.database))).exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_upgraded(), path)
        return
    engine = make_engine(url)
    _upgrade(engine, url)
    engine.dispose()


def upgrade_and_empty(url: str) -> None:
    """The same for a PostgreSQL database that tests share, and without a row.

    Every number is counted from one.
    """
    if make_url(url).get_backend_name() == "sqlite":
        upgrade(url)
        return
    engine = make_engine(url)
    _upgrade(engine, url)
    with engine.begin() as connection:
        _empty(connection)
    engine.dispose()


def watch_engines() -> None:
    """Remembers every engine that opens a PostgreSQL connection in this process."""
    event.listen(Engine, "engine_connect", _remember)


def _remember(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        ENGINES.add(connection.engine)


def close_idle_connections() -> None:
    """Closes the connections that engines keep for later; those in use stay."""
    for engine in tuple(ENGINES):
        engine.dispose()
    ENGINES.clear()


def _upgrade(engine: Engine, url: str) -> None:
    if not is_current(engine):
        migrate.upgrade(url)


def _empty(connection: Connection) -> None:
    """Truncates tables that have a page.

    To truncate all takes ten times as long as most tests.
    """
    names = [table.name for table in Base.metadata.sorted_tables]
    if found := list(connection.scalars(WITH_PAGES, {"names": names})):
        connection.execute(text(f"TRUNCATE {', '.join(found)} RESTART IDENTITY CASCADE"))
    for sequence in connection.scalars(USED_SEQUENCES):
        connection.execute(text(f"ALTER SEQUENCE {sequence} RESTART"))


@cache
def _upgraded() -> Path:
    """A SQLite file at the newest revision, made once in each process.

    Closed, so that no write-ahead log belongs to it.
    """
    folder = Path(mkdtemp(prefix="glossator-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    migrate.upgrade(f"sqlite:///{folder / 'upgraded.db'}")
    assert [path.name for path in folder.iterdir()] == ["upgraded.db"]
    return folder / "upgraded.db"


def differences(engine: Engine) -> list[Any]:
    """The differences between the database and `tables.py`."""
    with engine.connect() as connection:
        opts = {"compare_type": True, "include_name": _is_of_tables}
        return list(compare_metadata(MigrationContext.configure(connection, opts=opts), Base.metadata))


def _is_of_tables(name: str | None, kind: str, _parents: Any) -> bool:
    """False for optional indexes, those of one dialect, and SQLite's tables of words."""
    if kind == "table":
        return not str(name).startswith("label_words")
    return not (kind == "index" and str(name).endswith(("_trigrams", "_hnsw", "ix_labels_words")))
