"""Which revision a database stands at, and the newest one. Without Alembic, which takes a quarter of a second that readers do not wait for."""

from functools import lru_cache
from pathlib import Path

from sqlalchemy import Engine, inspect, text

FOLDER = Path(__file__).parents[2] / "migrations"


def is_current(engine: Engine) -> bool:
    """Whether the database stands at the head. Raises SQLAlchemyError where it does not answer."""
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return False
        return list(connection.execute(text("SELECT version_num FROM alembic_version")).scalars()) == [head()]


@lru_cache(maxsize=1)
def head() -> str:
    """The newest revision: files are named by theirs, in one line of ascending numbers."""
    return max(file.name.partition("_")[0] for file in (FOLDER / "versions").glob("[0-9]*_*.py"))
