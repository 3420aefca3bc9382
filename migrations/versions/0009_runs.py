"""A run is a thing of its own: what was an evidence set has a number within its dictionary, and all results name it by a small integer.

The listing holds the features of every run, not of a dictionary's newest one. PostgreSQL changes its tables in place. SQLite changes keys by copying
tables; foreign keys are off while a migration runs (`interp.store.migrate`), so that no row goes with a table that is replaced.
"""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)
DIGEST = sa.String(length=64)

revision = "0009"
down_revision = "0008"

Key = tuple[str, str, str | None]  # column, the table that it refers to, ON DELETE


@dataclass(frozen=True)
class Shape:
    """How a table changes: columns that come, as a type and what each row holds; columns that go; keys on what came."""

    table: str
    come: dict[str, tuple[sa.types.TypeEngine[Any], str]]
    go: tuple[str, ...]
    primary: tuple[str, ...] = ()
    unique: tuple[str, ...] = ()
    unique_name: str = ""
    keys: tuple[Key, ...] = ()
    nullable: bool = False


OF_AN_EXPLANATION = ("feature", "explainer", "settings_digest")


def _run_of(table: str, column: str = "evidence_set_id") -> dict[str, tuple[sa.types.TypeEngine[Any], str]]:
    return {"run_id": (ROW_ID, f"SELECT runs.id FROM runs WHERE runs.digest = {table}.{column}")}


def _set_of(table: str, column: str = "evidence_set_id") -> dict[str, tuple[sa.types.TypeEngine[Any], str]]:
    return {column: (DIGEST, f"SELECT runs.digest FROM runs WHERE runs.id = {table}.run_id")}


def _dictionary_of(table: str) -> dict[str, tuple[sa.types.TypeEngine[Any], str]]:
    return {"dictionary_id": (ROW_ID, f"SELECT runs.dictionary_id FROM runs WHERE runs.id = {table}.run_id")}


RUN, SET = ("run_id", "runs", None), ("evidence_set_id", "evidence_sets", None)
BOTH = ("dictionary_id", "evidence_set_id")
# Scores come before explanations, which say what their run is.
UP = (
    Shape("evidence", _run_of("evidence", "set_id"), ("set_id",), ("run_id", "feature"), keys=(("run_id", "runs", "CASCADE"),)),
    Shape("features", _run_of("features"), BOTH, ("run_id", "feature"), keys=(RUN,)),
    Shape(
        "scores",
        {
            "run_id": (
                ROW_ID,
                "SELECT runs.id FROM explanations JOIN runs ON runs.digest = explanations.evidence_set_id "
                "WHERE explanations.id = scores.explanation_id",
            )
        },
        ("dictionary_id",),
    ),
    Shape(
        "explanations",
        _run_of("explanations"),
        BOTH,
        unique=("run_id", *OF_AN_EXPLANATION),
        unique_name="explanations_run_id_feature_explainer_settings_digest_key",
        keys=(RUN,),
    ),
    Shape("jobs", _run_of("jobs"), ("evidence_set_id",), keys=(RUN,), nullable=True),
)
DOWN = (
    Shape("evidence", _set_of("evidence", "set_id"), ("run_id",), ("set_id", "feature"), keys=(("set_id", "evidence_sets", "CASCADE"),)),
    Shape("features", _set_of("features") | _dictionary_of("features"), ("run_id",), ("dictionary_id", "feature"), keys=(SET,)),
    Shape("scores", _dictionary_of("scores"), ("run_id",)),
    Shape(
        "explanations",
        _set_of("explanations") | _dictionary_of("explanations"),
        ("run_id",),
        unique=("evidence_set_id", *OF_AN_EXPLANATION),
        # As PostgreSQL cut it off.
        unique_name="explanations_evidence_set_id_feature_explainer_settings_dig_key",
        keys=(SET,),
    ),
    Shape("jobs", _set_of("jobs"), ("run_id",), keys=(SET,), nullable=True),
)
# SQLite kept these beyond 0006.
IMPLIED = dict.fromkeys(("features", "scores", "explanations"), (("dictionary_id", "dictionaries", None),))

FILTERED = ("state", "score", "lift", "density", "q_value")
SORTS = ("feature", "score", "shrunken", "lift", "density", "label")
INDEXES = {
    **{
        f"ix_features_{sort}": ("features", ["run_id", *dict.fromkeys((sort, "feature")), *(name for name in FILTERED if name != sort)])
        for sort in SORTS
    },
    "ix_explanations_feature": ("explanations", ["run_id", "feature", "id", "explainer"]),
    "ix_explanations_explainer": ("explanations", ["run_id", "explainer", "feature", "id"]),
    "ix_scores_figures": ("scores", ["run_id", "scorer", "feature", "explanation_id"]),
}
OLD_INDEXES = {
    **{name: (table, ["dictionary_id", *columns[1:]]) for name, (table, columns) in INDEXES.items()},
    "ix_explanations_explainer": ("explanations", ["explainer", "dictionary_id", "feature", "id"]),
    "ix_explanations_everywhere": ("explanations", ["feature", "dictionary_id", "id", "explainer"]),
}


def upgrade() -> None:
    for name, (table, _columns) in OLD_INDEXES.items():
        op.drop_index(name, table)
    _make_runs()
    for shape in UP:
        _reshape(shape, shape.keys)
    op.add_column("features", sa.Column("scorer", sa.String(length=64)))
    op.drop_table("evidence_sets")
    for name, (table, columns) in INDEXES.items():
        op.create_index(name, table, columns)
    _check_keys()


def downgrade() -> None:
    """A dictionary's listing holds one row per feature again: that of its newest run."""
    for name, (table, _columns) in INDEXES.items():
        op.drop_index(name, table)
    op.execute(
        "DELETE FROM features WHERE EXISTS (SELECT 1 FROM runs AS own JOIN runs AS newer ON newer.dictionary_id = own.dictionary_id "
        "JOIN features AS other ON other.run_id = newer.id "
        "WHERE own.id = features.run_id AND newer.id > own.id AND other.feature = features.feature)"
    )
    op.drop_column("features", "scorer")
    _make_evidence_sets()
    for shape in DOWN:
        _reshape(shape, (*shape.keys, *(IMPLIED.get(shape.table, ()) if _is_sqlite() else ())))
    op.drop_table("runs")
    for name, (table, columns) in OLD_INDEXES.items():
        op.create_index(name, table, columns)
    _check_keys()


def _make_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("digest", DIGEST, nullable=False),
        sa.Column("dictionary_id", ROW_ID, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("identity", JSON, nullable=False),
        sa.Column("corpus", JSON, nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("features", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("summaries", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("completed_at", TIME),
        sa.Column("pinned_at", TIME),
        sa.ForeignKeyConstraint(["dictionary_id"], ["dictionaries.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("digest"),
        sa.UniqueConstraint("dictionary_id", "number"),
    )
    op.execute(
        "INSERT INTO runs (digest, dictionary_id, number, identity, corpus, tokens, features, created_at, completed_at) "
        "SELECT id, dictionary_id, row_number() OVER (PARTITION BY dictionary_id ORDER BY created_at, id), identity, corpus, tokens, "
        "(SELECT count(*) FROM evidence WHERE evidence.set_id = evidence_sets.id), created_at, "
        "(SELECT max(jobs.finished_at) FROM jobs WHERE jobs.evidence_set_id = evidence_sets.id AND jobs.status = 'completed') "
        "FROM evidence_sets ORDER BY created_at, id"
    )


def _make_evidence_sets() -> None:
    op.create_table(
        "evidence_sets",
        sa.Column("id", DIGEST, nullable=False),
        sa.Column("dictionary_id", ROW_ID, nullable=False),
        sa.Column("identity", JSON, nullable=False),
        sa.Column("corpus", JSON, nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["dictionary_id"], ["dictionaries.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_evidence_sets_dictionary", "evidence_sets", ["dictionary_id"])
    columns = "dictionary_id, identity, corpus, tokens, created_at"
    op.execute(f"INSERT INTO evidence_sets (id, {columns}) SELECT digest, {columns} FROM runs")


def _is_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"


def _reshape(shape: Shape, keys: tuple[Key, ...]) -> None:
    if _is_sqlite():
        _copy(shape, keys)
    else:
        _alter(shape, keys)


def _alter(shape: Shape, keys: tuple[Key, ...]) -> None:
    """In place: a column that goes takes its keys with it, and no blob is written again."""
    table = shape.table
    for name, (kind, _value) in shape.come.items():
        op.add_column(table, sa.Column(name, kind))
    op.execute(f"UPDATE {table} SET {', '.join(f'{name} = ({value})' for name, (_kind, value) in shape.come.items())}")
    for name in shape.go:
        op.drop_column(table, name)
    for name in () if shape.nullable else shape.come:
        op.alter_column(table, name, nullable=False)
    if shape.primary:
        op.create_primary_key(f"{table}_pkey", table, list(shape.primary))
    if shape.unique:
        op.create_unique_constraint(shape.unique_name, table, list(shape.unique))
    for column, of, on_delete in keys:
        op.create_foreign_key(f"{table}_{column}_fkey", table, of, [column], ["id"], ondelete=on_delete)


def _copy(shape: Shape, keys: tuple[Key, ...]) -> None:
    """Into a new table of the same name, with what stays of the old one's columns, keys and indexes."""
    old = sa.Table(shape.table, sa.MetaData(), autoload_with=op.get_bind(), resolve_fks=False)
    stays = [column for column in old.columns if column.name not in shape.go]
    names = {column.name for column in stays}
    columns = [
        sa.Column(column.name, column.type, nullable=column.nullable, server_default=getattr(column.server_default, "arg", None)) for column in stays
    ]
    columns += [sa.Column(name, kind, nullable=shape.nullable) for name, (kind, _value) in shape.come.items()]
    constraints: list[sa.Constraint] = [sa.PrimaryKeyConstraint(*(shape.primary or [column.name for column in old.primary_key]))]
    for constraint in old.constraints:
        of = [column.name for column in getattr(constraint, "columns", ())]
        if names.issuperset(of) and isinstance(constraint, sa.ForeignKeyConstraint):
            refers = [element.target_fullname for element in constraint.elements]
            constraints.append(sa.ForeignKeyConstraint(of, refers, ondelete=constraint.ondelete))
        elif names.issuperset(of) and isinstance(constraint, sa.UniqueConstraint):
            constraints.append(sa.UniqueConstraint(*of))
    constraints += [sa.UniqueConstraint(*shape.unique)] if shape.unique else []
    constraints += [sa.ForeignKeyConstraint([column], [f"{of}.id"], ondelete=on_delete) for column, of, on_delete in keys]
    op.create_table(f"new_{shape.table}", *columns, *constraints)
    values = {column.name: column.name for column in stays} | {name: f"({value})" for name, (_kind, value) in shape.come.items()}
    op.execute(f"INSERT INTO new_{shape.table} ({', '.join(values)}) SELECT {', '.join(values.values())} FROM {shape.table}")
    indexes = [(str(index.name), [column.name for column in index.columns]) for index in old.indexes if names.issuperset(index.columns.keys())]
    op.drop_table(shape.table)
    op.rename_table(f"new_{shape.table}", shape.table)
    for name, of in indexes:
        op.create_index(name, shape.table, of)


def _check_keys() -> None:
    """Foreign keys were off: none may lead nowhere."""
    if _is_sqlite():
        broken = op.get_bind().exec_driver_sql("PRAGMA foreign_key_check").fetchall()
        if broken:
            raise RuntimeError(f"rows without what they refer to: {broken[:5]}")
