"""What language models were asked and answered, what that may cost, and what is made of their scores."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)

revision = "0002"
down_revision = "0001"

# (table, column, type): all nullable, so that SQLite adds and drops them in place. To copy a table whose rows cascade would empty others.
COLUMNS = (
    ("jobs", "control_of", sa.String(length=36)),
    ("jobs", "paused_at", TIME),
    ("scores", "null_values", JSON),
    ("scores", "controls", JSON),
    ("scores", "shrunken", sa.Float()),
    ("features", "shrunken", sa.Float()),
)


def upgrade() -> None:
    for table, name, kind in COLUMNS:
        op.add_column(table, sa.Column(name, kind))
    op.create_index("ix_jobs_control", "jobs", ["control_of"])
    op.create_index("ix_features_shrunken", "features", ["dictionary_id", "shrunken", "feature"])
    op.create_table(
        "llm_replies",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=255), nullable=False),
        sa.Column("base_url", sa.Text(), nullable=False),
        sa.Column("prompt", sa.LargeBinary(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("usage_known", sa.Boolean(), nullable=False),
        sa.Column("cost_usd", sa.Float()),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "llm_calls",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("chunk_id", sa.String(length=36), nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("feature", sa.Integer()),
        sa.Column("purpose", sa.String(length=128), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=255), nullable=False),
        sa.Column("base_url", sa.Text(), nullable=False),
        sa.Column("transport", sa.String(length=8), nullable=False),
        sa.Column("template", sa.String(length=128), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("usage_known", sa.Boolean(), nullable=False),
        sa.Column("cost_usd", sa.Float()),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("prompt", sa.LargeBinary()),
        sa.Column("raw", sa.LargeBinary()),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_llm_calls_stage", "llm_calls", ["job_id", "stage"])
    op.create_index("ix_llm_calls_feature", "llm_calls", ["job_id", "feature"])
    op.create_index("ix_llm_calls_key", "llm_calls", ["key"])
    amounts = [f"{of}_{what}" for of in ("spent", "reserved", "unsettled") for what in ("calls", "tokens", "usd")]
    op.create_table(
        "llm_budgets",
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("cap_calls", sa.BigInteger()),
        sa.Column("cap_tokens", sa.BigInteger()),
        sa.Column("cap_usd", sa.BigInteger()),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in amounts),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id"),
    )
    op.create_table(
        "llm_reservations",
        sa.Column("lease_token", sa.String(length=36), nullable=False),
        sa.Column("budget_id", sa.String(length=36), nullable=False),
        sa.Column("chunk_id", sa.String(length=36), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("usd", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["budget_id"], ["llm_budgets.job_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("lease_token"),
    )
    op.create_index("ix_llm_reservations_budget", "llm_reservations", ["budget_id"])
    op.create_table(
        "llm_batches",
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("id", sa.String(length=255), nullable=False),
        sa.Column("chunk_id", sa.String(length=36), nullable=False),
        sa.Column("base_url", sa.Text(), nullable=False),
        sa.Column("model", sa.String(length=255), nullable=False),
        sa.Column("keys", JSON, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("ended_at", TIME),
        sa.PrimaryKeyConstraint("job_id", "id"),
    )
    op.create_index("ix_llm_batches_chunk", "llm_batches", ["chunk_id", "ended_at"])


def downgrade() -> None:
    for table in ("llm_batches", "llm_reservations", "llm_budgets", "llm_calls", "llm_replies"):
        op.drop_table(table)
    op.drop_index("ix_features_shrunken", "features")
    op.drop_index("ix_jobs_control", "jobs")
    for table, name, _kind in reversed(COLUMNS):
        op.drop_column(table, name)
