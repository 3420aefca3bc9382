"""A job may have several dictionaries, each with a run of its own."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.create_table(
        "job_runs",
        sa.Column("job_id", sa.String(36), sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("place", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("run_id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), sa.ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    )
    op.create_index("ix_job_runs_run", "job_runs", ["run_id"])
    op.execute("INSERT INTO job_runs (job_id, place, run_id) SELECT id, 0, run_id FROM jobs WHERE run_id IS NOT NULL")


def downgrade() -> None:
    op.drop_table("job_runs")
