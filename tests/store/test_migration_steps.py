"""Each step of the history, on its own: down again leaves exactly what stood there before it."""

from typing import Any

from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect

from interp.store import migrate
from tests import databases


def revisions() -> list[str]:
    """First to last."""
    script = ScriptDirectory(str(migrate.FOLDER))
    return [revision.revision for revision in reversed(list(script.walk_revisions()))]


def schema(engine: Engine) -> dict[str, dict[str, Any]]:
    """Columns, keys and indexes of every table but Alembic's own, in no order."""
    found = inspect(engine)
    return {
        name: {
            "columns": {column["name"]: (str(column["type"]), column["nullable"]) for column in found.get_columns(name)},
            "primary key": found.get_pk_constraint(name)["constrained_columns"],
            "indexes": {index["name"]: (index["column_names"], bool(index["unique"])) for index in found.get_indexes(name)},
            "unique": sorted(tuple(unique["column_names"]) for unique in found.get_unique_constraints(name)),
            "foreign keys": sorted((*key["constrained_columns"], key["referred_table"]) for key in found.get_foreign_keys(name)),
        }
        for name in found.get_table_names()
        if name != "alembic_version"
    }


def test_each_step_down_undoes_its_step_up(database_url: str, engine: Engine) -> None:
    migrate.downgrade(database_url, "base")
    engine.dispose()
    assert schema(engine) == {}
    before = {"base": {}} | {revision: _after(database_url, engine, revision) for revision in revisions()}
    assert databases.differences(engine) == []
    way = list(before)
    for revision in reversed(way[:-1]):
        migrate.downgrade(database_url, revision)
        engine.dispose()
        assert schema(engine) == before[revision], f"down to {revision}"
    migrate.upgrade(database_url)


def _after(url: str, engine: Engine, revision: str) -> dict[str, dict[str, Any]]:
    migrate.upgrade(url, revision)
    engine.dispose()
    return schema(engine)
