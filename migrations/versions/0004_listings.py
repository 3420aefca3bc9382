"""Listings of a book of a million features: indexes that hold all that filters look at, and the search for a part of a label."""

import logging

import sqlalchemy as sa
from alembic import op
from sqlalchemy.exc import DBAPIError

log = logging.getLogger(__name__)

revision = "0004"
down_revision = "0003"

FILTERED = ("state", "score", "lift", "density", "q_value")
SORTS = ("score", "shrunken", "lift", "density", "label")
OLD_INDEXES = {
    **{f"ix_features_{column}": ("features", ["dictionary_id", column, "feature"]) for column in SORTS},
    "ix_explanations_feature": ("explanations", ["dictionary_id", "feature", "id"]),
    "ix_llm_calls_stage": ("llm_calls", ["job_id", "stage"]),
    "ix_llm_calls_feature": ("llm_calls", ["job_id", "feature"]),
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
    "ix_llm_calls_job": ("llm_calls", ["job_id", "id", "stage", "status"]),
    "ix_llm_calls_feature": ("llm_calls", ["job_id", "feature", "id", "stage", "status"]),
    "ix_scores_figures": ("scores", ["dictionary_id", "scorer", "feature", "explanation_id"]),
}
TEXTS = (("features", "label"), ("explanations", "text"))
GROUP = ("job_id", "stage", "purpose", "model", "base_url", "transport")
SUMS = ("questions", "answered", "attempts", "prompt_tokens", "completion_tokens", "unknown", "unpriced", "usd")
# What comes compressed: the server need not try again.
BLOBS = (("evidence", "blob"), ("score_items", "blob"), ("llm_replies", "raw"), ("llm_replies", "prompt"))


def upgrade() -> None:
    _replace(OLD_INDEXES, NEW_INDEXES)
    _add_up_calls()
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
    op.drop_table("llm_usage")
    _replace(NEW_INDEXES, OLD_INDEXES)


def _add_up_calls() -> None:
    op.create_table(
        "llm_usage",
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("purpose", sa.String(length=128), nullable=False),
        sa.Column("model", sa.String(length=255), nullable=False),
        sa.Column("base_url", sa.Text(), nullable=False),
        sa.Column("transport", sa.String(length=8), nullable=False),
        sa.Column("slot", sa.Integer(), autoincrement=False, nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in SUMS),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint(*GROUP, "slot"),
    )
    group = ", ".join(GROUP)
    op.execute(
        f"INSERT INTO llm_usage ({group}, slot, {', '.join(SUMS)}, seconds) SELECT {group}, 0, count(*), "
        "sum(CASE WHEN status = 'answered' THEN 1 ELSE 0 END), sum(attempts), sum(prompt_tokens), sum(completion_tokens), "
        "sum(CASE WHEN usage_known THEN 0 ELSE 1 END), sum(CASE WHEN cost_usd IS NULL THEN 1 ELSE 0 END), "
        f"cast(coalesce(sum(cost_usd), 0) * 1000000000000 AS bigint), sum(seconds) FROM llm_calls GROUP BY {group}"
    )


def _replace(old: dict[str, tuple[str, list[str]]], new: dict[str, tuple[str, list[str]]]) -> None:
    for name, (table, _columns) in old.items():
        op.drop_index(name, table)
    for name, (table, columns) in new.items():
        op.create_index(name, table, columns)


def _index_trigrams() -> None:
    """Where the server has pg_trgm and lets us use it; without it a search for a rare word takes several pages (`interp.store.listings.queries`)."""
    try:
        with op.get_bind().begin_nested():
            op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
            for table, column in TEXTS:
                op.execute(f"CREATE INDEX ix_{table}_trigrams ON {table} USING gin ({column} gin_trgm_ops)")
    except DBAPIError as error:
        log.warning(f"No index for the search in labels, which will take more pages: {str(error.orig).strip()}")
