"""What a job's user should know of how its files were read, and which files these are. Earlier jobs say nothing of it."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0011"
down_revision = "0010"

COLUMNS = ("warnings", "corpus")
JSON = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    for column in COLUMNS:
        op.add_column("jobs", sa.Column(column, JSON, nullable=True))


def downgrade() -> None:
    for column in COLUMNS:
        op.drop_column("jobs", column)
