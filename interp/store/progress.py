"""How far a job is: its chunks, added up by stage."""

from collections.abc import Sequence
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


# Stage, status, chunks, units done, units in all, first start, last end.
Group = tuple[Any, ...]


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
    return of_jobs(session, [job])[job.id]


def of_jobs(session: Session, rows: Sequence[Job]) -> dict[str, JobProgress]:
    """The progress of some jobs, by id: one statement for all of their chunks."""
    moment = now(session)
    grouped = _grouped(session, [job.id for job in rows])
    return {job.id: _progress(job, grouped.get(job.id, []), moment) for job in rows}


def _progress(job: Job, grouped: Sequence[Group], moment: datetime) -> JobProgress:
    by_stage = {stage: [group for group in grouped if group[0] == stage] for stage in Stage}
    stages = tuple(_stage(stage, found, moment) for stage, found in by_stage.items() if found)
    return JobProgress(
        job.id,
        job.status,
        _counts(job, stages),
        stages,
        job.created_at,
        job.started_at,
        job.cancelling_at,
        job.finished_at,
        None if job.status in JOB_ENDS else _eta(stages, moment),
        job.summary,
        job.error,
        job.paused_at,
        job.control_of,
    )


def _grouped(session: Session, job_ids: Sequence[str]) -> dict[str, list[Group]]:
    """The chunks of each job, added up by stage and status."""
    sums = (func.count(), func.sum(Chunk.units_done), func.sum(Chunk.units_total), func.min(Chunk.started_at), func.max(Chunk.finished_at))
    groups = (Chunk.job_id, Chunk.stage, Chunk.status)
    found: dict[str, list[Group]] = {}
    for job_id, *group in session.execute(select(*groups, *sums).where(Chunk.job_id.in_(job_ids)).group_by(*groups)):
        found.setdefault(job_id, []).append(tuple(group))
    return found


def _stage(stage: Stage, rows: Sequence[Group], moment: datetime) -> StageProgress:
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
