"""Define the tables of chunks, workers, live requests and webhook deliveries."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from interp.store.db.tables.base import Base


class LiveRequestRow(Base):
    """A live request: `waiting`, `running`, `done` or `failed`; deleted with its answer.

    `work` is an `interp.domain.live.LiveWork`, `error` a problem document. The worker that answers holds a lease by `lease_token`, and `phase` says
    what it does.
    """

    __tablename__ = "live_requests"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    owner: Mapped[str | None] = mapped_column(String(255))
    status: Mapped[str] = mapped_column(String(16))
    phase: Mapped[str | None] = mapped_column(String(16))
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    models_key: Mapped[str] = mapped_column(String(64))
    work: Mapped[dict[str, Any]]
    reply: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    lease_token: Mapped[str | None] = mapped_column(String(36))
    lease_expires_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    deadline_at: Mapped[datetime]

    __table_args__ = (
        Index("ix_live_requests_status", "status", "created_at"),
        Index("ix_live_requests_owner", "owner", "status"),
        Index("ix_live_requests_deadline", "deadline_at"),
        Index("ix_live_requests_run", "run_id"),
    )


NOTIFIED = "notified_at IS NOT NULL"


class ChunkRow(Base):
    """A leased unit of a job's work.

    `waits_for` names what must be done first: a stage, a chunk `stage:number`, or a span `stage:first-last`. `awaited_in` lists the spans that this
    chunk is in. `notified_at` is when a worker was last notified of it, NULL once a worker has answered.
    """

    __tablename__ = "chunks"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    stage: Mapped[str] = mapped_column(String(16))
    number: Mapped[int] = mapped_column(Integer)
    queue: Mapped[str] = mapped_column(String(16))
    priority: Mapped[int] = mapped_column(Integer, default=0)
    payload: Mapped[dict[str, Any]]
    status: Mapped[str] = mapped_column(String(16))
    waits_for: Mapped[str | None] = mapped_column(String(40))
    awaited_in: Mapped[list[Any] | None]
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    units_total: Mapped[int] = mapped_column(BigInteger, default=0)
    units_done: Mapped[int] = mapped_column(BigInteger, default=0)
    lease_owner: Mapped[str | None] = mapped_column(String(128))
    lease_token: Mapped[str | None] = mapped_column(String(36))
    lease_expires_at: Mapped[datetime | None]
    notified_at: Mapped[datetime | None]
    error: Mapped[dict[str, Any] | None]
    result: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("job_id", "stage", "number"),
        Index("ix_chunks_ready", "job_id", "queue", "status", "number"),
        Index("ix_chunks_stage", "job_id", "stage", "status"),
        Index("ix_chunks_waits", "job_id", "waits_for", "status"),
        Index("ix_chunks_lease", "status", "lease_expires_at"),
        Index("ix_chunks_notified", "queue", "notified_at", postgresql_where=text(NOTIFIED), sqlite_where=text(NOTIFIED)),
    )


class FairShareRow(Base):
    """The time of the last claim in a job's queue, by which jobs take turns."""

    __tablename__ = "fair_shares"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    queue: Mapped[str] = mapped_column(String(16), primary_key=True)
    last_claimed_at: Mapped[datetime | None]


class WorkerRow(Base):
    """A worker process at its last heartbeat, presumed dead after one lease without any.

    `memory_bytes` is what collection may use there, `loaded_models` the `models_key` of each pair of models that it has loaded.
    """

    __tablename__ = "workers"

    owner: Mapped[str] = mapped_column(String(128), primary_key=True)
    queue: Mapped[str] = mapped_column(String(16))
    name: Mapped[str] = mapped_column(String(128))
    version: Mapped[str] = mapped_column(String(32))
    device: Mapped[str | None] = mapped_column(String(64))
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    loaded_models: Mapped[list[Any]]
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]

    __table_args__ = (Index("ix_workers_seen", "seen_at"),)


class WebhookRow(Base):
    """A webhook event, written with the job's change and sent until delivered or given up."""

    __tablename__ = "webhooks"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    event: Mapped[str] = mapped_column(String(32))
    url: Mapped[str] = mapped_column(Text)
    payload: Mapped[dict[str, Any]]
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    next_attempt_at: Mapped[datetime | None]  # NULL: delivered, or given up
    delivered_at: Mapped[datetime | None]
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]

    __table_args__ = (Index("ix_webhooks_next_attempt", "next_attempt_at"), Index("ix_webhooks_job", "job_id", "created_at"))
