"""Uploads, their files, and the contents of these in the artifact store."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    op.create_table(
        "uploads",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("owner", sa.String(255)),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("is_folder", sa.Boolean(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("files", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
    )
    op.create_index("ix_uploads_created", "uploads", ["created_at", "id"])
    op.create_index("ix_uploads_digest", "uploads", ["digest"])
    op.create_index("ix_uploads_owner", "uploads", ["owner"])
    op.create_table(
        "upload_blobs",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("object", sa.String(128), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "upload_files",
        sa.Column("upload_id", sa.String(32), sa.ForeignKey("uploads.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("path", sa.Text(), primary_key=True),
        sa.Column("digest", sa.String(64), sa.ForeignKey("upload_blobs.digest"), nullable=False),
    )
    op.create_index("ix_upload_files_digest", "upload_files", ["digest"])


def downgrade() -> None:
    op.drop_table("upload_files")
    op.drop_table("upload_blobs")
    op.drop_table("uploads")
