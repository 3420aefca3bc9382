"""How far a job is: sums of its stages that triggers keep, and the chunks that are being worked on. A look costs the same at any size."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from interp.domain.errors import NotFoundError
from interp.domain.lifecycle import JOB_ENDS, QUEUE_OF, ChunkStatus, JobStatus, Stage
from interp.store.db.dialect import now
from interp.store.db.tables import ChunkRow, JobRow, StageCountRow

UNITS = {Stage.CHECK: "chunks", Stage.PREPARE: "percent", Stage.COLLECT: "tokens", Stage.SUMMARISE: "chunks"}
QUEUES = sorted(set(QUEUE_OF.values()))


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """Features of a job: asked for, through all of its stages, and those that could not be explained."""

    total: int
    completed: int
    failed: int


@dataclass(frozen=True, slots=True)
class StageProgress:
    """One stage of a job. `unit` says what `done` and `total` count; `chunks` counts chunks by status.

    `seconds` is wall time from the stage's first start to its last end (or now, or the pause), without what lay between an end and another try, or
    between a pause and going on. `eta_seconds` is None until a rate is known.
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
    """A job as a user watches it. `eta` is None until every open stage has a known rate. `inactive_seconds`: paused, or over until a retry."""

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


@dataclass(frozen=True, slots=True)
class Sums:
    """A stage: what its triggers keep, and how many chunks of it are leased, what they have done, and when the first of them was taken."""

    kept: StageCountRow
    leased: int
    units: int
    started_at: datetime | None

    def chunks(self) -> dict[str, int]:
        """Chunks by status, of those that there are some of."""
        kept = self.kept
        counts = {
            ChunkStatus.WAITING: kept.waiting,
            ChunkStatus.READY: kept.open - kept.waiting - self.leased,
            ChunkStatus.LEASED: self.leased,
            ChunkStatus.DONE: kept.done_now,
            ChunkStatus.FAILED: kept.failed_now,
            ChunkStatus.CANCELLED: kept.chunks - kept.open - kept.done_now - kept.failed_now,
        }
        return {str(status): number for status, number in counts.items() if number}


def progress(session: Session, job_id: str) -> JobProgress:
    """The job's progress as the database has it; raises NotFound."""
    job = session.get(JobRow, job_id, populate_existing=True)
    if job is None:
        raise NotFoundError(f"There is no job {job_id}.", cure="List the jobs with `glossator job list` (GET /v1/jobs).", job=job_id)
    return of_jobs(session, [job])[job.id]


def of_jobs(session: Session, rows: Sequence[JobRow]) -> dict[str, JobProgress]:
    """The progress of some jobs, by id: one statement for all of them."""
    moment = now(session)
    found = _sums(session, [job.id for job in rows])
    return {job.id: _progress(job, found.get(job.id, []), moment) for job in rows}


def _progress(job: JobRow, found: Sequence[Sums], moment: datetime) -> JobProgress:
    by_stage = {sums.kept.stage: sums for sums in found}
    stages = tuple(_stage(by_stage[stage], job.paused_at or moment) for stage in Stage if stage in by_stage)
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
        job.pause_reason,
        job.paused_at,
        job.control_of,
        job.inactive_seconds,
    )


def _sums(session: Session, job_ids: Sequence[str]) -> dict[str, list[Sums]]:
    """The stages of each job: the sums that are kept, and the few chunks that are worked on. One statement, so that both are of one moment."""
    leased = (
        select(
            ChunkRow.job_id,
            ChunkRow.stage,
            func.count().label("number"),
            func.sum(ChunkRow.units_done).label("units"),
            func.min(ChunkRow.started_at).label("started_at"),
        )
        .where(ChunkRow.job_id.in_(job_ids), ChunkRow.queue.in_(QUEUES), ChunkRow.status == ChunkStatus.LEASED)
        .group_by(ChunkRow.job_id, ChunkRow.stage)
        .subquery()
    )
    worked_on = (func.coalesce(leased.c.number, 0), func.coalesce(leased.c.units, 0), leased.c.started_at)
    statement = (
        select(StageCountRow, *worked_on)
        .outerjoin(leased, (leased.c.job_id == StageCountRow.job_id) & (leased.c.stage == StageCountRow.stage))
        .where(StageCountRow.job_id.in_(job_ids), StageCountRow.chunks > 0)
        .execution_options(populate_existing=True)
    )
    found: dict[str, list[Sums]] = {}
    for kept, number, units, started_at in session.execute(statement):
        found.setdefault(kept.job_id, []).append(Sums(kept, int(number), int(units), started_at))
    return found


def _stage(sums: Sums, moment: datetime) -> StageProgress:
    kept, stage = sums.kept, Stage(sums.kept.stage)
    done, total = kept.units_now + sums.units, kept.units_total
    started = min((start for start in (kept.started_at, sums.started_at) if start), default=None)
    finished = None if kept.open else kept.finished_at
    seconds = max(((finished or moment) - started).total_seconds() - kept.inactive_seconds, 0.0) if started else 0.0
    unit = UNITS.get(stage, "features")
    if unit == "percent" and total == kept.chunks:
        # A job of before, whose chunk counted as one.
        unit = "chunks"
    # Percents take unequal times: there is no rate to go on with.
    remaining = seconds / done * (total - done) if done and unit != "percent" else None
    eta = remaining if kept.open else 0.0
    return StageProgress(stage, unit, done, total, sums.chunks(), started, finished, seconds, eta)


def _counts(job: JobRow, stages: tuple[StageProgress, ...]) -> RequestCounts:
    by_stage = {stage.stage: stage for stage in stages}
    if not stages and job.status == JobStatus.COMPLETED:
        # Retention took its chunks before such sums were kept.
        return RequestCounts(job.features_total or 0, (job.features_total or 0) - job.features_failed, job.features_failed)
    last = by_stage.get(Stage.SCORE) or by_stage.get(Stage.EXPLAIN)
    through = max(last.done - job.features_failed, 0) if last else 0
    return RequestCounts(job.features_total or 0, through, job.features_failed)


def _eta(stages: tuple[StageProgress, ...], moment: datetime) -> datetime | None:
    open_stages = [stage for stage in stages if stage.stage not in (Stage.CHECK, Stage.PREPARE, Stage.SUMMARISE)]
    remaining = [stage.eta_seconds for stage in open_stages]
    if not remaining or None in remaining:
        return None
    return moment + timedelta(seconds=sum(seconds for seconds in remaining if seconds))
