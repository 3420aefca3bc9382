"""Databases that tests start from are what upgrading step by step gives, and hold nothing of the test before."""

import sqlite3
from pathlib import Path

from sqlalchemy import Engine, func, select, text

from interp.store import migrate
from interp.store.db.engine import make_engine
from interp.store.db.revision import is_current
from interp.store.db.tables import Base
from tests import databases
from tests.api import synthetic


def _dump(path: Path) -> list[list[str]]:
    """All that a file holds. Sorted: Alembic makes the indexes and constraints of a table that it replaces in no order."""
    connection = sqlite3.connect(path)
    try:
        statements = [*connection.iterdump(), str(connection.execute("PRAGMA journal_mode").fetchone())]
    finally:
        connection.close()
    return sorted(sorted(line.rstrip(", ") for line in statement.splitlines()) for statement in statements)


def test_a_copied_file_is_an_upgraded_one(tmp_path: Path) -> None:
    migrate.upgrade(f"sqlite:///{tmp_path / 'upgraded.db'}")
    databases.upgrade(f"sqlite:///{tmp_path / 'folder' / 'copied.db'}")
    assert _dump(tmp_path / "folder" / "copied.db") == _dump(tmp_path / "upgraded.db")


def test_a_file_that_is_there_is_upgraded_and_keeps_its_rows(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}"
    migrate.upgrade(url, "0012")
    engine = make_engine(url)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO subjects (id, name, config, vocabulary, created_at) VALUES ('s', 'toy', '{}', x'00', '2026-01-01')"))
    databases.upgrade(url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM subjects")).scalar_one() == 1
    assert is_current(engine)
    engine.dispose()


def test_a_shared_database_is_left_as_a_new_one(postgres_url: str) -> None:
    databases.upgrade_and_empty(postgres_url)
    engine = make_engine(postgres_url)
    new = _shown(engine)
    assert (new[0], set(new[1].values()), new[2]) == (True, {0}, [])
    synthetic.fill(engine)
    assert all(used != unused for used, unused in zip(_shown(engine)[1:], new[1:], strict=True))
    migrate.downgrade(postgres_url, "0012")
    databases.upgrade_and_empty(postgres_url)
    assert _shown(engine) == new
    engine.dispose()


def _shown(engine: Engine) -> tuple[bool, dict[str, int | None], list[str]]:
    """Whether it is at the newest revision, the rows of each table, and the sequences that gave a number."""
    with engine.connect() as connection:
        counts = {table.name: connection.scalar(select(func.count()).select_from(table)) for table in Base.metadata.sorted_tables}
        return is_current(engine), counts, list(connection.scalars(databases.USED_SEQUENCES))
