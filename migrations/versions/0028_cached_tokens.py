"""Prompt tokens that endpoints read from their caches, and bill for less."""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"

TABLES = ("llm_calls", "llm_usage", "llm_totals")


def upgrade() -> None:
    for table in TABLES:
        op.add_column(table, sa.Column("cached_tokens", sa.BigInteger(), nullable=False, server_default="0"))


def downgrade() -> None:
    for table in TABLES:
        op.drop_column(table, "cached_tokens")
