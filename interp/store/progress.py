"""How far a job is: its chunks, added up by stage."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from interp.errors import NotFound
from interp.lifecycle import JOB_ENDS, ChunkStatus, JobStatus, Stage
from interp.store.dialect import now
from interp.store.tables import Chunk, Job

UNITS = {Stage.PREPARE: "chunks", Stage.COLLECT: "tokens", Stage.SUMMARISE: "chunks"}


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """Features of a job: asked for, through all of its stages, and those that could not be explained."""

    total: int
    completed: int
    failed: int


@dataclass(frozen=True, slots=True)
class StageProgress:
    """One stage of a job. `unit` says what `done` and `total` count; `chunks` counts chunks by status.

    `seconds` is wall time from the stage's first start to its last end (or now). `eta_seconds` is None until a rate is known.
    """

    stage: Stage
    unit: str
    done: int
    total: int
    chunks: dict[str, int]
    started_at: datetime | None
    finished_at: datetime | None
    seconds: float
    eta_seconds: float | None


@dataclass(frozen=True, slots=True)
class JobProgress:
    """A job as a user watches it. `eta` is None until every open stage has a known rate."""

    job_id: str
    status: str
    request_counts: RequestCounts
    stages: tuple[StageProgress, ...]
    created_at: datetime
    started_at: datetime | None
    cancelling_at: datetime | None
    finished_at: datetime | None
    eta: datetime | None
    summary: dict[str, Any] | None
    error: dict[str, Any] | None
    paused_at: datetime | None = None
    control_of: str | None = None


def progress(session: Session, job_id: str) -> JobProgress:
    """The job's progress as the database has it; raises NotFound."""
    job = session.get(Job, job_id, populate_existing=True)
    if job is None:
        raise NotFound(f"There is no job {job_id}.", cure="List the jobs with GET /v1/jobs.", job=job_id)
    moment = now(session)
    over = job.status in JOB_ENDS
    stages = _stages(session, job_id, moment)
    return JobProgress(
        job.id,
        job.status,
        _counts(job, stages),
        stages,
        job.created_at,
        job.started_at,
        job.cancelling_at,
        job.finished_at,
        None if over else _eta(stages, moment),
        job.summary,
        job.error,
        job.paused_at,
        job.control_of,
    )


def _stages(session: Session, job_id: str, moment: datetime) -> tuple[StageProgress, ...]:
    grouped = session.execute(
        select(
            Chunk.stage,
            Chunk.status,
            func.count(),
            func.sum(Chunk.units_done),
            func.sum(Chunk.units_total),
            func.min(Chunk.started_at),
            func.max(Chunk.finished_at),
        )
        .where(Chunk.job_id == job_id)
        .group_by(Chunk.stage, Chunk.status)
    ).all()
    found = {stage: [row for row in grouped if row[0] == stage] for stage in Stage}
    return tuple(_stage(stage, [tuple(row) for row in rows], moment) for stage, rows in found.items() if rows)


def _stage(stage: Stage, rows: list[tuple[Any, ...]], moment: datetime) -> StageProgress:
    chunks = {str(status): int(count) for _, status, count, *_ in rows}
    done, total = sum(int(row[3]) for row in rows), sum(int(row[4]) for row in rows)
    is_open = any(chunks.get(status) for status in (ChunkStatus.WAITING, ChunkStatus.READY, ChunkStatus.LEASED))
    started = min((row[5] for row in rows if row[5]), default=None)
    finished = None if is_open else max((row[6] for row in rows if row[6]), default=None)
    seconds = ((finished or moment) - started).total_seconds() if started else 0.0
    remaining = seconds / done * (total - done) if done else None
    return StageProgress(stage, UNITS.get(stage, "features"), done, total, chunks, started, finished, seconds, remaining if is_open else 0.0)


def _counts(job: Job, stages: tuple[StageProgress, ...]) -> RequestCounts:
    by_stage = {stage.stage: stage for stage in stages}
    if not stages and job.status == JobStatus.COMPLETED:
        # Retention has taken its chunks.
        return RequestCounts(job.features_total or 0, (job.features_total or 0) - job.features_failed, job.features_failed)
    last = by_stage.get(Stage.SCORE) or by_stage.get(Stage.EXPLAIN)
    through = max(last.done - job.features_failed, 0) if last else 0
    return RequestCounts(job.features_total or 0, through, job.features_failed)


def _eta(stages: tuple[StageProgress, ...], moment: datetime) -> datetime | None:
    open_stages = [stage for stage in stages if stage.stage not in (Stage.PREPARE, Stage.SUMMARISE)]
    remaining = [stage.eta_seconds for stage in open_stages]
    if not remaining or None in remaining:
        return None
    return moment + timedelta(seconds=sum(seconds for seconds in remaining if seconds))
