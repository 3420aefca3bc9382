"""Define the tables of jobs, their runs, and their progress."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Float, ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from interp.store.db.tables.base import Base


class JobRow(Base):
    """A job, or a check (`kind`), whose report is its summary.

    `spec` is the JobSpec as JSON. `error` is the problem document of a failed job, `pause_reason` that of a paused one. `control_of` names the job
    that this one is the random-weights control of; they share its budget. `models_key` is `interp.planning.fingerprint.models_key`: workers with
    these models loaded are preferred. `traceparent` is the W3C trace context of the submitting request. `warnings`: `interp.domain.job_warnings`.
    `corpus` sums up the files read. `dictionary_id` and `run_id` are those of the first dictionary; `job_runs` has the runs of all.
    """

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16), server_default="job")
    status: Mapped[str] = mapped_column(String(16))
    priority: Mapped[int] = mapped_column(Integer, default=0)
    spec: Mapped[dict[str, Any]]
    idempotency_key: Mapped[str | None] = mapped_column(String(255), unique=True)
    request_digest: Mapped[str] = mapped_column(String(64))
    dictionary_id: Mapped[int | None] = mapped_column(ForeignKey("dictionaries.id"))
    run_id: Mapped[int | None] = mapped_column(ForeignKey("runs.id"))
    features_total: Mapped[int | None] = mapped_column(Integer)
    features_failed: Mapped[int] = mapped_column(Integer, default=0)
    summary: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    pause_reason: Mapped[dict[str, Any] | None]
    control_of: Mapped[str | None] = mapped_column(String(36))
    owner: Mapped[str | None] = mapped_column(String(255))  # None: submitted while there were no keys
    models_key: Mapped[str | None] = mapped_column(String(64))
    traceparent: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    paused_at: Mapped[datetime | None]
    cancelling_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    inactive_seconds: Mapped[float] = mapped_column(Float, server_default="0")
    warnings: Mapped[list[Any] | None]
    corpus: Mapped[dict[str, Any] | None]

    __table_args__ = (
        Index("ix_jobs_status_created", "status", "created_at"),
        Index("ix_jobs_created", "created_at", "id"),
        Index("ix_jobs_control", "control_of"),
        Index("ix_jobs_run", "run_id", "created_at"),
        Index("ix_jobs_owner", "owner", "created_at", "id"),
    )


class JobRunRow(Base):
    """The run of one of a job's dictionaries, at its place in the spec."""

    __tablename__ = "job_runs"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    place: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))

    __table_args__ = (Index("ix_job_runs_run", "run_id"),)


class StageCountRow(Base):
    """The counts of a job's stage, kept by triggers (`migrations/counts.py`, `migrations/progress.py`).

    `open` chunks are waiting, ready or leased. `done`, `failed` and `cancelled` count every end: a chunk that is retried counts again; `units` adds
    up the units of those done. `released_at` is when a chunk was first, or first again after a retry, ready.

    In columns that end in `now`, a reopened chunk is subtracted; `units_now` adds up what ended chunks have done. `started_at` is the first start of
    a chunk that has ended since, `finished_at` the last end, `inactive_seconds` the pauses between (`interp.store.queue.paused_time`).
    """

    __tablename__ = "stage_counts"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    stage: Mapped[str] = mapped_column(String(16), primary_key=True)
    queue: Mapped[str] = mapped_column(String(16))
    open: Mapped[int] = mapped_column(BigInteger)
    waiting: Mapped[int] = mapped_column(BigInteger)
    done: Mapped[int] = mapped_column(BigInteger)
    failed: Mapped[int] = mapped_column(BigInteger)
    cancelled: Mapped[int] = mapped_column(BigInteger)
    units: Mapped[int] = mapped_column(BigInteger)
    released_at: Mapped[datetime | None]
    chunks: Mapped[int] = mapped_column(BigInteger, server_default="0")
    done_now: Mapped[int] = mapped_column(BigInteger, server_default="0")
    failed_now: Mapped[int] = mapped_column(BigInteger, server_default="0")
    units_total: Mapped[int] = mapped_column(BigInteger, server_default="0")
    units_now: Mapped[int] = mapped_column(BigInteger, server_default="0")
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    inactive_seconds: Mapped[float] = mapped_column(Float, server_default="0")
