"""People's reviews of labels."""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "reviews",
        sa.Column("id", ROW_ID, primary_key=True, autoincrement=True),
        sa.Column("run_id", ROW_ID, sa.ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
        sa.Column("feature", sa.Integer(), nullable=False),
        sa.Column("explanation_id", ROW_ID),
        sa.Column("label", sa.Text()),
        sa.Column("verdict", sa.String(8), nullable=False),
        sa.Column("text", sa.Text()),
        sa.Column("comment", sa.Text()),
        sa.Column("author", sa.String(255), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_reviews_feature", "reviews", ["run_id", "feature", "id"])
    op.create_index("ix_reviews_explanation", "reviews", ["explanation_id", "author", "id"])
    op.create_index("ix_reviews_run", "reviews", ["run_id", "id"])


def downgrade() -> None:
    op.drop_table("reviews")
