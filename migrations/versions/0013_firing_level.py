"""Listings state the activation above which a feature fires. Evidence of before knows no other level than 0."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.add_column("features", sa.Column("firing_level", sa.Float(), server_default="0", nullable=False))


def downgrade() -> None:
    op.drop_column("features", "firing_level")
