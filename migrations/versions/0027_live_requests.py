"""Requests to the model at hand, with the lease of the worker that answers each."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0027"
down_revision = "0026"

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "live_requests",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("owner", sa.String(255)),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("phase", sa.String(16)),
        sa.Column("run_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
        sa.Column("models_key", sa.String(64), nullable=False),
        sa.Column("work", JSON, nullable=False),
        sa.Column("reply", JSON),
        sa.Column("error", JSON),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("lease_token", sa.String(36)),
        sa.Column("lease_expires_at", TIME),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("deadline_at", TIME, nullable=False),
    )
    op.create_index("ix_live_requests_status", "live_requests", ["status", "created_at"])
    op.create_index("ix_live_requests_owner", "live_requests", ["owner", "status"])
    op.create_index("ix_live_requests_deadline", "live_requests", ["deadline_at"])
    op.create_index("ix_live_requests_run", "live_requests", ["run_id"])


def downgrade() -> None:
    op.drop_table("live_requests")
