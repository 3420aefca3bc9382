"""Named lists of features."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "feature_lists",
        sa.Column("id", ROW_ID, primary_key=True, autoincrement=True),
        sa.Column("name", sa.String(64), nullable=False, unique=True),
        sa.Column("description", sa.Text(), nullable=False, server_default=""),
        sa.Column("owner", sa.String(255)),
        sa.Column("size", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("changed_at", TIME, nullable=False),
    )
    op.create_index("ix_feature_lists_owner", "feature_lists", ["owner", "id"])
    op.create_table(
        "feature_list_items",
        sa.Column("list_id", ROW_ID, sa.ForeignKey("feature_lists.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
        sa.Column("dictionary_id", ROW_ID, sa.ForeignKey("dictionaries.id"), primary_key=True, autoincrement=False),
        sa.Column("feature", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("added_at", TIME, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("feature_list_items")
    op.drop_table("feature_lists")
