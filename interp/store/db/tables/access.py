"""Define the tables of keys, quotas, sessions and the audit log."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from interp.store.db.tables.base import Base, RowId


class ApiKeyRow(Base):
    """An API key, of which the SHA-256 is kept; rows are never deleted.

    `name` is the owner of what the key makes; keys of one name are one owner's. `created_by` names who made the key. `last_used_at` is written at
    most once a minute.
    """

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(8), primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    digest: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[list[Any]]
    created_by: Mapped[str] = mapped_column(String(255))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]

    __table_args__ = (Index("ix_api_keys_created", "created_at", "id"),)


class KeyQuotaRow(Base):
    """What a key may use at most; NULL is no limit.

    The lock of its row makes the checks of one key serial.
    """

    __tablename__ = "key_quotas"

    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id"), primary_key=True)
    max_jobs: Mapped[int | None] = mapped_column(Integer)
    features_per_day: Mapped[int | None] = mapped_column(BigInteger)
    picodollars_per_month: Mapped[int | None] = mapped_column(BigInteger)


class KeyJobRow(Base):
    """A job that a key submitted, and the number of features that it counts for."""

    __tablename__ = "key_jobs"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id"))
    at: Mapped[datetime]
    features: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (Index("ix_key_jobs_key", "key_id", "at"),)


class BrowserSessionRow(Base):
    """A browser's session of a key, or of a user where `key_id` is NULL.

    `digest` is the SHA-256 of its random id. The rights of a key's session are the key's own; `scopes` are those of a user.
    """

    __tablename__ = "browser_sessions"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    key_id: Mapped[str | None] = mapped_column(ForeignKey("api_keys.id"))
    name: Mapped[str] = mapped_column(String(255))
    owner: Mapped[str] = mapped_column(String(255))
    scopes: Mapped[list[Any]]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]

    __table_args__ = (Index("ix_browser_sessions_expires", "expires_at"),)


class SharedSecretRow(Base):
    """A random secret that all processes share, made by the first."""

    __tablename__ = "shared_secrets"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[str] = mapped_column(String(64))


class AuditRow(Base):
    """A request to change something, and its outcome; a trigger refuses changes of rows.

    `who` and `key_id` are NULL where the sender is unknown. `action` is the operation's name, `target` the path or the address of what was made.
    `status` is that of the answer and `code` that of its problem. `unlisted` counts the refused requests of unknown senders before this one that
    have no row of their own, since there were too many.
    """

    __tablename__ = "audit_log"

    id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
    at: Mapped[datetime]
    who: Mapped[str | None] = mapped_column(String(255))
    key_id: Mapped[str | None] = mapped_column(String(8))
    address: Mapped[str | None] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(64))
    target: Mapped[str] = mapped_column(Text)
    status: Mapped[int] = mapped_column(Integer)
    code: Mapped[str | None] = mapped_column(String(64))
    request_id: Mapped[str | None] = mapped_column(String(128))
    unlisted: Mapped[int] = mapped_column(Integer, server_default="0")

    __table_args__ = (
        # The listing's order with each filter; `at` alone finds what is old.
        Index("ix_audit_log_who", "who", "id"),
        Index("ix_audit_log_action", "action", "id"),
        Index("ix_audit_log_at", "at"),
    )
