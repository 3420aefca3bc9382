"""Quotas of keys, the jobs of each key, browser sessions, and secrets that processes share."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0022"
down_revision = "0021"

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "key_quotas",
        sa.Column("key_id", sa.String(8), sa.ForeignKey("api_keys.id"), primary_key=True),
        sa.Column("max_jobs", sa.Integer),
        sa.Column("features_per_day", sa.BigInteger),
        sa.Column("picodollars_per_month", sa.BigInteger),
    )
    op.create_table(
        "key_jobs",
        sa.Column("job_id", sa.String(36), sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("key_id", sa.String(8), sa.ForeignKey("api_keys.id"), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("features", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_key_jobs_key", "key_jobs", ["key_id", "at"])
    op.create_table(
        "browser_sessions",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("key_id", sa.String(8), sa.ForeignKey("api_keys.id")),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("owner", sa.String(255), nullable=False),
        sa.Column("scopes", JSON, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
    )
    op.create_index("ix_browser_sessions_expires", "browser_sessions", ["expires_at"])
    op.create_table(
        "shared_secrets",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("value", sa.String(64), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("shared_secrets")
    op.drop_table("browser_sessions")
    op.drop_table("key_jobs")
    op.drop_table("key_quotas")
