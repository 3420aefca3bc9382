"""Turns between jobs, workers that tell of themselves, webhooks, and indexes for jobs of a million chunks."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations import counts

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
TIME = sa.DateTime(timezone=True)

revision = "0003"
down_revision = "0002"

# Nullable, so that SQLite adds and drops them in place.
COLUMNS = (("jobs", "models_key", sa.String(length=64)), ("jobs", "traceparent", sa.String(length=64)), ("chunks", "awaited_in", JSON))
RUNG = sa.text("rung_at IS NOT NULL")
NEW_INDEXES = {
    "ix_chunks_ready": ["job_id", "queue", "status", "number"],
    "ix_chunks_stage": ["job_id", "stage", "status"],
    "ix_chunks_waits": ["job_id", "waits_for", "status"],
}
OLD_INDEXES = {"ix_chunks_claim": ["queue", "status", "priority", "created_at"], "ix_chunks_job": ["job_id", "status"]}


def upgrade() -> None:
    for table, name, kind in COLUMNS:
        op.add_column(table, sa.Column(name, kind))
    for name, columns in NEW_INDEXES.items():
        op.create_index(name, "chunks", columns)
    op.create_index("ix_chunks_rung", "chunks", ["queue", "rung_at"], postgresql_where=RUNG, sqlite_where=RUNG)
    for name in OLD_INDEXES:
        op.drop_index(name, "chunks")
    op.create_table(
        "turns",
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("queue", sa.String(length=16), nullable=False),
        sa.Column("served_at", TIME),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "queue"),
    )
    op.execute("INSERT INTO turns (job_id, queue) SELECT DISTINCT job_id, queue FROM chunks")
    op.create_table(
        "workers",
        sa.Column("owner", sa.String(length=128), nullable=False),
        sa.Column("queue", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("version", sa.String(length=32), nullable=False),
        sa.Column("device", sa.String(length=64)),
        sa.Column("memory_bytes", sa.BigInteger()),
        sa.Column("resident", JSON, nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("seen_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("owner"),
    )
    op.create_index("ix_workers_seen", "workers", ["seen_at"])
    op.create_table(
        "webhooks",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("event", sa.String(length=32), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("payload", JSON, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", TIME),
        sa.Column("delivered_at", TIME),
        sa.Column("error", sa.Text()),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_webhooks_next", "webhooks", ["next_at"])
    op.create_index("ix_webhooks_job", "webhooks", ["job_id", "created_at"])

    counts.upgrade()


def downgrade() -> None:
    counts.downgrade()
    for table in ("webhooks", "workers", "turns"):
        op.drop_table(table)
    for name, columns in OLD_INDEXES.items():
        op.create_index(name, "chunks", columns)
    for name in (*NEW_INDEXES, "ix_chunks_rung"):
        op.drop_index(name, "chunks")
    for table, name, _kind in COLUMNS:
        op.drop_column(table, name)
