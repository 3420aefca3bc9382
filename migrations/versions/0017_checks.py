"""A job may be a check, which measures a dictionary and explains nothing."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("kind", sa.String(16), nullable=False, server_default="job"))


def downgrade() -> None:
    op.drop_column("jobs", "kind")
