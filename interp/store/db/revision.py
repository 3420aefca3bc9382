"""Read the database's revision without Alembic, whose import takes 0.25 s."""

from functools import lru_cache
from pathlib import Path

from sqlalchemy import Engine, inspect, text

from interp.domain.errors import DatabaseUnfitError

FOLDER = Path(__file__).parents[3] / "migrations"


def is_current(engine: Engine) -> bool:
    """Return whether the database has the newest revision, or raise SQLAlchemyError."""
    return _found(engine) == [head()]


def check(engine: Engine) -> None:
    """Raise DatabaseUnfitError unless the revision is the newest, or SQLAlchemyError without an answer."""
    if fault := unfit(engine):
        raise fault


def unfit(engine: Engine) -> DatabaseUnfitError | None:
    """Return what is wrong with the tables: missing, or of an older or newer version."""
    found = _found(engine)
    if found == [head()]:
        return None
    if set(found) <= known():
        why = f"Its tables are at revision {', '.join(found)}; this version's is {head()}." if found else "It has none of Glossator's tables."
        return DatabaseUnfitError(
            "The database is not at this version.", why=why, cure="Run `glossator db upgrade` (`glossator serve` does it by itself)."
        )
    return DatabaseUnfitError(
        "The database was made by another version of Glossator.",
        why=f"Its tables are at revision {', '.join(found)}; this version knows those up to {head()}.",
        cure="Install the version that it was made with, or a newer one.",
    )


def _found(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return []
        return [str(number) for number in connection.execute(text("SELECT version_num FROM alembic_version")).scalars()]


@lru_cache(maxsize=1)
def known() -> frozenset[str]:
    """Return every revision that this version knows."""
    return frozenset(file.name.partition("_")[0] for file in (FOLDER / "versions").glob("[0-9]*_*.py"))


@lru_cache(maxsize=1)
def head() -> str:
    """Return the newest revision; file names begin with theirs, in ascending numbers."""
    return max(known())
