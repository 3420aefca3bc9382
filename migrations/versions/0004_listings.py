"""Listings of a book of a million features: indexes that hold all that filters look at, and the search for a part of a label."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.exc import DBAPIError

revision = "0004"
down_revision = "0003"

FILTERED = ("state", "score", "lift", "density", "q_value")
SORTS = ("score", "shrunken", "lift", "density", "label")
OLD_INDEXES = {
    **{f"ix_features_{column}": ("features", ["dictionary_id", column, "feature"]) for column in SORTS},
    "ix_explanations_feature": ("explanations", ["dictionary_id", "feature", "id"]),
    "ix_scores_feature": ("scores", ["dictionary_id", "feature"]),
    "ix_scores_dictionary_scorer": ("scores", ["dictionary_id", "scorer", "value"]),
}
NEW_INDEXES = {
    "ix_features_feature": ("features", ["dictionary_id", "feature", *FILTERED]),
    **{
        f"ix_features_{column}": ("features", ["dictionary_id", column, "feature", *(name for name in FILTERED if name != column)])
        for column in SORTS
    },
    "ix_explanations_feature": ("explanations", ["dictionary_id", "feature", "id", "explainer"]),
    "ix_explanations_explainer": ("explanations", ["explainer", "dictionary_id", "feature", "id"]),
    "ix_explanations_everywhere": ("explanations", ["feature", "dictionary_id", "id", "explainer"]),
    "ix_scores_figures": ("scores", ["dictionary_id", "scorer", "feature", "explanation_id"]),
}
TEXTS = (("features", "label"), ("explanations", "text"))
# What comes compressed: the server need not try again.
BLOBS = (("evidence", "blob"), ("score_items", "blob"), ("llm_replies", "raw"), ("llm_replies", "prompt"))


def upgrade() -> None:
    _replace(OLD_INDEXES, NEW_INDEXES)
    if op.get_bind().dialect.name == "postgresql":
        for table, column in TEXTS:
            op.alter_column(table, column, type_=sa.Text(collation="C"))
        for table, column in BLOBS:
            op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE EXTERNAL")
        _index_trigrams()


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for table, column in TEXTS:
            op.execute(f"DROP INDEX IF EXISTS ix_{table}_trigrams")
            op.alter_column(table, column, type_=sa.Text(collation="default"))
        for table, column in BLOBS:
            op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE EXTENDED")
    _replace(NEW_INDEXES, OLD_INDEXES)


def _replace(old: dict[str, tuple[str, list[str]]], new: dict[str, tuple[str, list[str]]]) -> None:
    for name, (table, _columns) in old.items():
        op.drop_index(name, table)
    for name, (table, columns) in new.items():
        op.create_index(name, table, columns)


def _index_trigrams() -> None:
    """Where the server has pg_trgm and lets us use it; without it a search for a rare word takes several pages (`interp.store.book`)."""
    try:
        with op.get_bind().begin_nested():
            op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
            for table, column in TEXTS:
                op.execute(f"CREATE INDEX ix_{table}_trigrams ON {table} USING gin ({column} gin_trgm_ops)")
    except DBAPIError as error:
        print(f"No index for the search in labels, which will take more pages: {str(error.orig).strip()}")
