"""Define the tables of uploads and exports."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from interp.store.db.tables.base import Base


class UploadRow(Base):
    """A file or folder that a client has sent, named `upload://ID` in jobs.

    `digest` is that of a file's bytes, or of a folder's paths, sizes and digests. `expires_at` moves with each job that names it.
    """

    __tablename__ = "uploads"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    owner: Mapped[str | None] = mapped_column(String(255))
    name: Mapped[str] = mapped_column(String(255))
    is_folder: Mapped[bool]
    digest: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(BigInteger)
    files: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]

    __table_args__ = (Index("ix_uploads_created", "created_at", "id"), Index("ix_uploads_digest", "digest"), Index("ix_uploads_owner", "owner"))


class ExportRow(Base):
    """An export that a client asked for: `queued`, `running`, `completed` or `failed`.

    `request` is an `interp.exchange.request.ExportRequest`. The process that makes it holds a lease by `lease_token`. `size` and `sha256` are those
    of the object in the artifact store, which is deleted with the row, at `expires_at`.
    """

    __tablename__ = "exports"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    owner: Mapped[str | None] = mapped_column(String(255))
    status: Mapped[str] = mapped_column(String(16))
    request: Mapped[dict[str, Any]]
    features_done: Mapped[int] = mapped_column(BigInteger, server_default="0")
    features_total: Mapped[int | None] = mapped_column(BigInteger)
    file_name: Mapped[str | None] = mapped_column(Text)
    media_type: Mapped[str | None] = mapped_column(String(64))
    size: Mapped[int | None] = mapped_column(BigInteger)
    sha256: Mapped[str | None] = mapped_column(String(64))
    manifest: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    lease_token: Mapped[str | None] = mapped_column(String(36))
    lease_expires_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_exports_created", "created_at", "id"),
        Index("ix_exports_status", "status", "created_at"),
        Index("ix_exports_owner", "owner", "status"),
        Index("ix_exports_expires", "expires_at"),
    )


class UploadBlobRow(Base):
    """The content of files with one digest: `object` of the artifact store."""

    __tablename__ = "upload_blobs"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    object: Mapped[str] = mapped_column(String(128))
    size: Mapped[int] = mapped_column(BigInteger)


class UploadFileRow(Base):
    """A file of an upload: its path in the folder, or the upload's name."""

    __tablename__ = "upload_files"

    upload_id: Mapped[str] = mapped_column(ForeignKey("uploads.id", ondelete="CASCADE"), primary_key=True)
    path: Mapped[str] = mapped_column(Text, primary_key=True)
    digest: Mapped[str] = mapped_column(ForeignKey("upload_blobs.digest"))

    __table_args__ = (Index("ix_upload_files_digest", "digest"),)
