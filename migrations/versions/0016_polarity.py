"""A dictionary may have features of both signs. Those of before have the positive side alone."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.add_column("dictionaries", sa.Column("polarity", sa.String(8), server_default="positive", nullable=False))


def downgrade() -> None:
    op.drop_column("dictionaries", "polarity")
