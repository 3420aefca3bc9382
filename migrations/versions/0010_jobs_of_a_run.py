"""The jobs of a run, the newest first, are read along an index."""

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_index("ix_jobs_run", "jobs", ["run_id", "created_at"])


def downgrade() -> None:
    op.drop_index("ix_jobs_run", "jobs")
