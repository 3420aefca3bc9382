"""Compute the progress of jobs from kept sums and leased chunks, at constant cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from interp.domain.lifecycle import JOB_ENDS, QUEUE_OF, ChunkStatus, JobStatus, Stage
from interp.store.db.dialect import now
from interp.store.db.tables import ChunkRow, JobRow, StageCountRow
from interp.store.listings import queries
from interp.store.queue.chunks import leased_by_stage

PERCENT = (Stage.CHECK, Stage.MEASURE, Stage.PREPARE, Stage.MAP, Stage.HEALTH)
UNITS = dict.fromkeys(PERCENT, "percent") | {Stage.COLLECT: "tokens", Stage.SUMMARISE: "chunks"}
# A stage's first unit says when it began, not how fast it is: a rate takes this share of the units, or so long.
RATED_SHARE, RATED_SECONDS = 0.01, 60.0
QUEUES = sorted(set(QUEUE_OF.values()))


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """Numbers of features that a job requested, finished, and could not explain."""

    total: int
    completed: int
    failed: int


@dataclass(frozen=True, slots=True)
class StageProgress:
    """One stage of a job; `done` and `total` count `unit`, `chunks` chunks by status.

    `seconds` is wall time from the stage's first start to its last end (or now, or the pause), without pauses and the time between an end and a
    retry. `eta_seconds` is None until a rate is known: after 1% of the units, or a minute.
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
    """A job's progress; `inactive_seconds` counts pauses and retry delays, `eta` needs all rates."""

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
    pause_reason: dict[str, Any] | None = None
    paused_at: datetime | None = None
    control_of: str | None = None
    inactive_seconds: float = 0.0


def progress(session: Session, job_id: str) -> JobProgress:
    """Return the progress of a job, or raise NotFoundError."""
    return of_jobs(session, [queries.job(session, job_id)])[job_id]


def of_jobs(session: Session, rows: Sequence[JobRow]) -> dict[str, JobProgress]:
    """Return the progress of some jobs by id, with one statement for all of them."""
    moment = now(session)
    found = _stages(session, rows, moment)
    return {job.id: _progress(job, found.get(job.id, {}), moment) for job in rows}


def _progress(job: JobRow, found: Mapping[Stage, StageProgress], moment: datetime) -> JobProgress:
    stages = tuple(found[stage] for stage in Stage if stage in found)
    eta = None if job.status in JOB_ENDS else _eta(stages, moment)
    columns = {field.name: getattr(job, field.name) for field in fields(JobProgress) if field.name in JobRow.__table__.c}
    return JobProgress(job.id, request_counts=_counts(job, found), stages=stages, eta=eta, **columns)


def _stages(session: Session, jobs: Sequence[JobRow], moment: datetime) -> dict[str, dict[Stage, StageProgress]]:
    """Return each job's stages by one statement, so that no chunk counts twice."""
    paused = {job.id: job.paused_at for job in jobs}
    leased = leased_by_stage(ChunkRow.job_id.in_(paused), ChunkRow.queue.in_(QUEUES))
    statement = (
        select(StageCountRow, func.coalesce(leased.c.number, 0), func.coalesce(leased.c.units, 0), leased.c.started_at)
        .outerjoin(leased, (leased.c.job_id == StageCountRow.job_id) & (leased.c.stage == StageCountRow.stage))
        .where(StageCountRow.job_id.in_(paused), StageCountRow.chunks > 0)
        .execution_options(populate_existing=True)
    )
    found: dict[str, dict[Stage, StageProgress]] = {}
    for kept, number, units, started_at in session.execute(statement):
        stage = _stage(kept, int(number), int(units), started_at, paused[kept.job_id] or moment)
        found.setdefault(kept.job_id, {})[stage.stage] = stage
    return found


def _stage(kept: StageCountRow, leased: int, units: int, started_at: datetime | None, moment: datetime) -> StageProgress:
    """Return a stage from its sums, and its leased chunks' number, units and start."""
    stage, done, total = Stage(kept.stage), kept.units_now + units, kept.units_total
    started = min((start for start in (kept.started_at, started_at) if start), default=None)
    finished = None if kept.open else kept.finished_at
    seconds = max(((finished or moment) - started).total_seconds() - kept.inactive_seconds, 0.0) if started else 0.0
    unit = UNITS.get(stage, "features")
    if unit == "percent" and total == kept.chunks:
        # A job of an older version, whose chunk counted as one.
        unit = "chunks"
    # Percents take unequal times, so there is no rate.
    has_rate = unit != "percent" and done > 0 and (done >= RATED_SHARE * total or seconds >= RATED_SECONDS)
    remaining = seconds / done * (total - done) if has_rate else None
    eta = remaining if kept.open else 0.0
    return StageProgress(stage, unit, done, total, _chunks(kept, leased), started, finished, seconds, eta)


def _chunks(kept: StageCountRow, leased: int) -> dict[str, int]:
    """Return the number of chunks by status, where there are any."""
    counts = {
        ChunkStatus.WAITING: kept.waiting,
        ChunkStatus.READY: kept.open - kept.waiting - leased,
        ChunkStatus.LEASED: leased,
        ChunkStatus.DONE: kept.done_now,
        ChunkStatus.FAILED: kept.failed_now,
        ChunkStatus.CANCELLED: kept.chunks - kept.open - kept.done_now - kept.failed_now,
    }
    return {str(status): number for status, number in counts.items() if number}


def _counts(job: JobRow, stages: Mapping[Stage, StageProgress]) -> RequestCounts:
    total = job.features_total or 0
    last = stages.get(Stage.SCORE) or stages.get(Stage.EXPLAIN)
    # Some completed jobs explain nothing, and retention deleted the chunks of others before such sums were kept.
    ended = last.done if last else total if job.status == JobStatus.COMPLETED else 0
    return RequestCounts(total, max(ended - job.features_failed, 0), job.features_failed)


def _eta(stages: tuple[StageProgress, ...], moment: datetime) -> datetime | None:
    open_stages = [stage for stage in stages if stage.stage not in (*PERCENT, Stage.SUMMARISE)]
    remaining = [stage.eta_seconds for stage in open_stages]
    if not remaining or None in remaining:
        return None
    return moment + timedelta(seconds=sum(seconds for seconds in remaining if seconds))
