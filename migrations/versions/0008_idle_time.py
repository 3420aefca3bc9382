"""How long a job and its stages rested: paused, or between an end and another try. What was before is not known, and counts as none."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

TABLES = ("jobs", "stage_counts")


def upgrade() -> None:
    for table in TABLES:
        op.add_column(table, sa.Column("idle_seconds", sa.Float(), nullable=False, server_default="0"))


def downgrade() -> None:
    for table in TABLES:
        op.drop_column(table, "idle_seconds")
