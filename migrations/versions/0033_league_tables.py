"""Keep the league table of a run, and count the changes of its scores."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0033"
down_revision = "0032"

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "league_tables",
        sa.Column("run_id", ROW_ID, sa.ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
        sa.Column("changes", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "score_changes",
        sa.Column("id", ROW_ID, primary_key=True, autoincrement=True),
        sa.Column("run_id", ROW_ID, sa.ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    )
    op.create_index("ix_score_changes_run_id", "score_changes", ["run_id"])


def downgrade() -> None:
    op.drop_table("score_changes")
    op.drop_table("league_tables")
