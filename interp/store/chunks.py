"""The queue of record: chunks, and the leases on them. Every write of a worker is guarded by its lease token, so no chunk has two owners.

Order of locks, here and in `jobs.py` and `queue.py`: the job's row first, then its chunks. Only `claim` takes a chunk's row alone, and it
never waits for one (SKIP LOCKED).
"""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, Result, exists, insert, select, update
from sqlalchemy.orm import Session, aliased

from interp.errors import LeaseLost
from interp.lifecycle import CHUNK_ENDS, QUEUE_OF, ChunkStatus, JobStatus, Queue, Stage, chunk_sources_of
from interp.planning import ChunkPlan
from interp.store.dialect import now, unclaimed
from interp.store.tables import Chunk, Job

WORKABLE = (JobStatus.QUEUED, JobStatus.RUNNING)


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on one chunk, for as long as heartbeats come in time. `token` proves it; `owner` is a process."""

    chunk_id: str
    job_id: str
    stage: Stage
    number: int
    payload: dict[str, Any]
    attempt: int
    units: int
    owner: str
    token: str
    starts_job: bool


def add(session: Session, job_id: str, priority: int, plans: Sequence[ChunkPlan]) -> list[str]:
    """Writes the chunks of a plan; returns the ids of those that may start at once."""
    moment = now(session)
    new: list[dict[str, Any]] = [
        {
            "id": str(uuid.uuid4()),
            "job_id": job_id,
            "stage": plan.stage,
            "number": plan.number,
            "queue": QUEUE_OF[plan.stage],
            "priority": priority,
            "payload": plan.payload,
            "status": ChunkStatus.WAITING if plan.waits_for else ChunkStatus.READY,
            "waits_for": plan.waits_for,
            "units_total": plan.units,
            "created_at": moment,
        }
        for plan in plans
    ]
    if new:
        session.execute(insert(Chunk), new)
    return [row["id"] for row in new if row["status"] == ChunkStatus.READY]


def claim(session: Session, queue: Queue, owner: str, seconds: float, chunk_id: str | None = None) -> Lease | None:
    """Leases the chunk a doorbell named, or else the next ready one of the queue; None when there is none.

    Highest priority first, then the oldest. Chunks of jobs that are paused, being cancelled or over are passed by.
    """
    ready = (
        select(Chunk, Job.status)
        .join(Job, Job.id == Chunk.job_id)
        .where(Chunk.queue == queue, Chunk.status.in_(chunk_sources_of(ChunkStatus.LEASED)), Job.status.in_(WORKABLE))
        .order_by(Chunk.priority.desc(), Chunk.created_at, Chunk.number)
        .limit(1)
    )
    found = session.execute(unclaimed(ready.where(Chunk.id == chunk_id), of=Chunk)).first() if chunk_id else None
    found = found or session.execute(unclaimed(ready, of=Chunk)).first()
    if found is None:
        return None
    chunk, job_status = found
    moment, token = now(session), str(uuid.uuid4())
    until = moment + timedelta(seconds=seconds)
    lease = {"lease_owner": owner, "lease_token": token, "lease_expires_at": until}
    attempt = chunk.attempts + 1
    _move(session, ChunkStatus.LEASED, Chunk.id == chunk.id, **lease, attempts=attempt, units_done=0, started_at=moment)
    stage, starts_job = Stage(chunk.stage), job_status == JobStatus.QUEUED
    return Lease(chunk.id, chunk.job_id, stage, chunk.number, chunk.payload, attempt, chunk.units_total, owner, token, starts_job)


def heartbeat(session: Session, lease: Lease, seconds: float, units_done: int) -> bool:
    """Renews the lease and writes progress. False when the lease is gone or the job is no longer to be worked on."""
    workable = exists().where(Job.id == Chunk.job_id, Job.status.in_(WORKABLE))
    renewed = session.execute(
        update(Chunk)
        .where(*held(lease), workable)
        .values(lease_expires_at=now(session) + timedelta(seconds=seconds), units_done=units_done)
        .execution_options(synchronize_session=False)
    )
    return rows(renewed) == 1


def done(session: Session, lease: Lease, result: dict[str, Any] | None) -> None:
    """The chunk is done. Raises LeaseLost when it is no longer this worker's: then the whole transaction must be rolled back."""
    _end(session, lease, ChunkStatus.DONE, units_done=Chunk.units_total, result=result, error=None)


def failed(session: Session, lease: Lease, problem: dict[str, Any]) -> None:
    """The chunk is given up, with the problem that ended it. Raises LeaseLost."""
    _end(session, lease, ChunkStatus.FAILED, error=problem)


def cancelled(session: Session, lease: Lease) -> None:
    """The chunk's job was cancelled or has failed while it was worked on. Raises LeaseLost."""
    _end(session, lease, ChunkStatus.CANCELLED)


def again(session: Session, lease: Lease, problem: dict[str, Any] | None, counts: bool) -> None:
    """Back to the queue: after an error (`counts`: it was an attempt), or because the worker stops. Raises LeaseLost."""
    attempts = lease.attempt if counts else lease.attempt - 1
    values = {"attempts": attempts, "units_done": 0, "error": problem, "rung_at": None}
    if not _move(session, ChunkStatus.READY, *held(lease), **values, **NO_LEASE):
        raise LeaseLost(f"chunk {lease.chunk_id} is no longer ours")


def release_waiting(session: Session, job_id: str, stage: Stage, number: int) -> list[str]:
    """Makes ready what waited for this chunk, or for its stage when it was the last one open; returns the ids.

    The caller holds the job's row: otherwise two last chunks that end at once would each see the other one open.
    """
    before = aliased(Chunk)
    stage_open = exists().where(before.job_id == job_id, before.stage == stage, before.status.not_in(CHUNK_ENDS))
    waited = (Chunk.waits_for == f"{stage}:{number}") | ((Chunk.waits_for == stage) & ~stage_open)
    statement = update(Chunk).where(Chunk.job_id == job_id, Chunk.status == ChunkStatus.WAITING, waited).values(status=ChunkStatus.READY)
    return list(session.scalars(statement.returning(Chunk.id).execution_options(synchronize_session=False)))


def stage_is_over(session: Session, job_id: str, stage: Stage) -> bool:
    """Whether no chunk of the stage is open any more."""
    return not session.scalar(select(exists().where(Chunk.job_id == job_id, Chunk.stage == stage, Chunk.status.not_in(CHUNK_ENDS))))


def cancel_open(session: Session, job_id: str) -> None:
    """Cancels all chunks of a job that nobody works on."""
    unleased = chunk_sources_of(ChunkStatus.CANCELLED) - {ChunkStatus.LEASED}
    _move(session, ChunkStatus.CANCELLED, Chunk.job_id == job_id, Chunk.status.in_(unleased), finished_at=now(session))


def ring_again(session: Session, job_id: str) -> None:
    """Forgets that the job's ready chunks were rung for: those bells were answered while it was paused."""
    ready = update(Chunk).where(Chunk.job_id == job_id, Chunk.status == ChunkStatus.READY)
    session.execute(ready.values(rung_at=None).execution_options(synchronize_session=False))


def any_leased(session: Session, job_id: str) -> bool:
    """Whether somebody still works on the job."""
    return bool(session.scalar(select(exists().where(Chunk.job_id == job_id, Chunk.status == ChunkStatus.LEASED))))


def expired(session: Session, is_gone: Callable[[str], bool], chunk_id: str | None = None) -> list[Lease]:
    """Leases past their time, and those whose owner is known to be gone. With `chunk_id` that chunk alone, and its row is locked."""
    moment = now(session)
    leased = select(Chunk).where(Chunk.status == ChunkStatus.LEASED).execution_options(populate_existing=True)
    if chunk_id is not None:
        leased = unclaimed(leased.where(Chunk.id == chunk_id), of=Chunk)
    return [_lease(chunk) for chunk in session.scalars(leased) if _is_over(chunk, moment, is_gone)]


def ring_due(session: Session, queue: Queue, window: int, seconds: float) -> list[str]:
    """Ready chunks that were never rung, or not within `seconds`: at most `window`, next in line first. Marks them as rung."""
    moment = now(session)
    due = session.scalars(
        unclaimed(
            select(Chunk.id)
            .join(Job, Job.id == Chunk.job_id)
            .where(Chunk.queue == queue, Chunk.status == ChunkStatus.READY, Job.status.in_(WORKABLE))
            .where(Chunk.rung_at.is_(None) | (Chunk.rung_at < moment - timedelta(seconds=seconds)))
            .order_by(Chunk.priority.desc(), Chunk.created_at, Chunk.number)
            .limit(window),
            of=Chunk,
        )
    ).all()
    if due:
        session.execute(update(Chunk).where(Chunk.id.in_(due)).values(rung_at=moment).execution_options(synchronize_session=False))
    return list(due)


NO_LEASE: dict[str, Any] = {"lease_owner": None, "lease_token": None, "lease_expires_at": None}


def held(lease: Lease) -> tuple[ColumnElement[bool], ...]:
    """Whether the chunk is still the lease's."""
    return (Chunk.id == lease.chunk_id, Chunk.lease_token == lease.token, Chunk.status == ChunkStatus.LEASED)


def _move(session: Session, target: ChunkStatus, *where: ColumnElement[bool], **values: Any) -> int:
    """The one place that changes a chunk's status, and only as the lifecycle allows. Returns how many chunks moved."""
    statement = update(Chunk).where(*where, Chunk.status.in_(chunk_sources_of(target))).values(status=target, **values)
    return rows(session.execute(statement.execution_options(synchronize_session=False)))


def _end(session: Session, lease: Lease, target: ChunkStatus, **values: Any) -> None:
    if not _move(session, target, *held(lease), finished_at=now(session), **values, **NO_LEASE):
        raise LeaseLost(f"chunk {lease.chunk_id} is no longer ours")


def rows(result: Result[Any]) -> int:
    """How many rows an UPDATE changed."""
    return cast("CursorResult[Any]", result).rowcount


def _is_over(chunk: Chunk, moment: datetime, is_gone: Callable[[str], bool]) -> bool:
    return chunk.lease_owner is None or chunk.lease_expires_at is None or chunk.lease_expires_at < moment or is_gone(chunk.lease_owner)


def _lease(chunk: Chunk) -> Lease:
    owner, token = chunk.lease_owner or "", chunk.lease_token or ""
    return Lease(
        chunk.id, chunk.job_id, Stage(chunk.stage), chunk.number, chunk.payload, chunk.attempts, chunk.units_total, owner, token, starts_job=False
    )
