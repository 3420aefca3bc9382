"""Exports that clients ask for, and the lease of the process that makes each."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0023"
down_revision = "0022"

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "exports",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("owner", sa.String(255)),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("request", JSON, nullable=False),
        sa.Column("features_done", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("features_total", sa.BigInteger()),
        sa.Column("file_name", sa.Text()),
        sa.Column("media_type", sa.String(64)),
        sa.Column("size", sa.BigInteger()),
        sa.Column("sha256", sa.String(64)),
        sa.Column("manifest", JSON),
        sa.Column("error", JSON),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("lease_token", sa.String(36)),
        sa.Column("lease_expires_at", TIME),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("finished_at", TIME),
        sa.Column("expires_at", TIME),
    )
    op.create_index("ix_exports_created", "exports", ["created_at", "id"])
    op.create_index("ix_exports_status", "exports", ["status", "created_at"])
    op.create_index("ix_exports_owner", "exports", ["owner", "status"])
    op.create_index("ix_exports_expires", "exports", ["expires_at"])


def downgrade() -> None:
    op.drop_table("exports")
