"""Store live requests, and the leases of the workers that answer them.

A row lives for as long as its client waits: the API deletes it with its answer, or when the client goes, and a worker whose row is gone stops.
"""

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.orm import Session

from interp.domain.errors import GlossatorError, problem_of
from interp.domain.lifecycle import JobStatus, Queue, Stage
from interp.domain.live import LiveWork
from interp.store.db.dialect import now, skip_locked
from interp.store.db.tables import ChunkRow, JobRow, JobRunRow, LiveRequestRow, WorkerRow
from interp.store.queue.chunks import changed_rows

# Requests that may wait or be in work: of one owner, and together.
MOST_OF_OWNER, MOST_OPEN = 8, 64
# A request whose workers die that often is what kills them.
MOST_ATTEMPTS = 2
# Requests that a claim chooses among.
LOOKED_AT = 16
# What nobody fetched is deleted so long after its deadline.
KEPT_SECONDS = 60.0


class LiveUnavailableError(GlossatorError, code="live-unavailable", status=503, title="No worker answers now"):
    """No gpu worker took the request, or its model is being opened."""


class LiveBusyError(GlossatorError, code="live-busy", status=429, title="Too many live requests are waiting"):
    """So many live requests wait that one more would be late."""


class LiveDeadlineError(GlossatorError, code="live-deadline", status=504, title="The model did not answer in time"):
    """A worker was at work on the request at its deadline."""


class LiveStatus(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class LivePhase(StrEnum):
    """What a worker does with a request."""

    OPENING = "opening"
    COMPUTING = "computing"


OPEN = (LiveStatus.WAITING, LiveStatus.RUNNING)


@dataclass(frozen=True, slots=True)
class LiveLease:
    """The right of one worker to answer a request, proved by `token`."""

    id: str
    token: str
    run_id: int
    models_key: str
    work: dict[str, Any]
    attempt: int


@dataclass(frozen=True, slots=True)
class LiveWorkers:
    """The gpu workers that live, and how many of them have some models open."""

    alive: int
    open: int


@dataclass(frozen=True, slots=True)
class RunModels:
    """A run's job, its dictionary's place, and collection's tokens a batch, if known."""

    spec: dict[str, Any]
    place: int
    batch_tokens: int | None


def submit(session: Session, owner: str | None, run_id: int, models_key: str, work: LiveWork, seconds: float) -> str:
    """Write a request and return its id; raises LiveBusyError."""
    mine = LiveRequestRow.owner.is_(None) if owner is None else LiveRequestRow.owner == owner
    moment = now(session)
    waiting = select(func.count()).select_from(LiveRequestRow).where(LiveRequestRow.status.in_(OPEN), LiveRequestRow.deadline_at > moment)
    for statement, most, whose in ((waiting.where(mine), MOST_OF_OWNER, "your requests"), (waiting, MOST_OPEN, "requests")):
        if session.execute(statement).scalar_one() >= most:
            raise LiveBusyError(f"{most} {whose} wait for the model at hand.", cure="Wait for one to be answered.")
    row = LiveRequestRow(
        id=uuid.uuid4().hex,
        owner=owner,
        status=LiveStatus.WAITING,
        run_id=run_id,
        models_key=models_key,
        work=work.model_dump(mode="json"),
        attempts=0,
        created_at=moment,
        deadline_at=moment + timedelta(seconds=seconds),
    )
    session.add(row)
    session.flush()
    return row.id


def state(session: Session, request_id: str) -> tuple[LiveStatus, LivePhase | None] | None:
    """Return the status and phase of a request; None where it is gone."""
    found = session.execute(select(LiveRequestRow.status, LiveRequestRow.phase).where(LiveRequestRow.id == request_id)).one_or_none()
    return None if found is None else (LiveStatus(found.status), None if found.phase is None else LivePhase(found.phase))


def take(session: Session, request_id: str) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Return the reply or the problem of a request, and delete it."""
    found = session.execute(select(LiveRequestRow.reply, LiveRequestRow.error).where(LiveRequestRow.id == request_id)).one_or_none()
    remove(session, request_id)
    return (None, None) if found is None else (found.reply, found.error)


def remove(session: Session, request_id: str) -> None:
    """Delete a request that nobody waits for: a worker at work on it stops."""
    session.execute(delete(LiveRequestRow).where(LiveRequestRow.id == request_id).execution_options(synchronize_session=False))


def waits(session: Session, models: Collection[str], affinity_seconds: float) -> bool:
    """Return whether a worker with these models should claim now."""
    moment = now(session)
    due = select(LiveRequestRow.id).where(
        LiveRequestRow.deadline_at > moment,
        or_(
            (LiveRequestRow.status == LiveStatus.WAITING)
            & or_(LiveRequestRow.models_key.in_(models), LiveRequestRow.created_at <= moment - timedelta(seconds=affinity_seconds)),
            (LiveRequestRow.status == LiveStatus.RUNNING) & (LiveRequestRow.lease_expires_at < moment),
        ),
    )
    return session.scalar(due.limit(1)) is not None


def claim(session: Session, lease_seconds: float, models: Collection[str], affinity_seconds: float) -> LiveLease | None:
    """Lease the oldest request for some models, or one that waited `affinity_seconds` for others.

    A worker that has a request's models open takes it at once; one that would have to open them leaves it to such a one for a moment.
    """
    moment = now(session)
    lost = (LiveRequestRow.status == LiveStatus.RUNNING) & (LiveRequestRow.lease_expires_at < moment)
    due = select(LiveRequestRow).where(or_(LiveRequestRow.status == LiveStatus.WAITING, lost), LiveRequestRow.deadline_at > moment)
    rows = session.scalars(skip_locked(due.order_by(LiveRequestRow.created_at, LiveRequestRow.id).limit(LOOKED_AT), of=LiveRequestRow)).all()
    late = moment - timedelta(seconds=affinity_seconds)
    for row in rows:
        if row.models_key not in models and row.created_at > late:
            continue
        if row.attempts >= MOST_ATTEMPTS:
            error = LiveUnavailableError("The workers that took the request ended.", cure="Send less text; the server's log says why they ended.")
            row.status, row.error = LiveStatus.FAILED, problem_of(error)
            continue
        row.status, row.phase, row.lease_token = LiveStatus.RUNNING, LivePhase.OPENING, str(uuid.uuid4())
        row.lease_expires_at, row.attempts = moment + timedelta(seconds=lease_seconds), row.attempts + 1
        return LiveLease(row.id, row.lease_token, row.run_id, row.models_key, row.work, row.attempts)
    return None


def renew(session: Session, lease: LiveLease, lease_seconds: float) -> bool:
    """Renew a lease; return False where the request is gone, over or another's."""
    moment = now(session)
    values = {"lease_expires_at": moment + timedelta(seconds=lease_seconds)}
    statement = update(LiveRequestRow).where(LiveRequestRow.deadline_at > moment).values(**values)
    return _changed(session, lease, statement)


def computes(session: Session, lease: LiveLease) -> bool:
    """Write that the models are open; return as `renew`."""
    return _changed(session, lease, update(LiveRequestRow).values(phase=LivePhase.COMPUTING))


def finish(session: Session, lease: LiveLease, reply: dict[str, Any]) -> bool:
    """Write the reply; return whether the request was still there."""
    return _changed(session, lease, update(LiveRequestRow).values(status=LiveStatus.DONE, reply=reply))


def fail(session: Session, lease: LiveLease, problem: dict[str, Any]) -> bool:
    """Write why there is no reply; return whether the request was still there."""
    return _changed(session, lease, update(LiveRequestRow).values(status=LiveStatus.FAILED, error=problem))


def hand_back(session: Session, lease: LiveLease) -> bool:
    """Let another worker answer: this one stops, which is no attempt."""
    values = {"status": LiveStatus.WAITING, "phase": None, "lease_token": None, "attempts": LiveRequestRow.attempts - 1}
    return _changed(session, lease, update(LiveRequestRow).values(**values))


def expire(session: Session) -> int:
    """Delete requests that nobody fetched, some time after their deadline; return how many."""
    old = delete(LiveRequestRow).where(LiveRequestRow.deadline_at < now(session) - timedelta(seconds=KEPT_SECONDS))
    return changed_rows(session.execute(old.execution_options(synchronize_session=False)))


def workers_of(session: Session, models_key: str, seconds: float) -> LiveWorkers:
    """Return how many gpu workers live, and have these models open."""
    since = now(session) - timedelta(seconds=seconds)
    loaded = session.scalars(select(WorkerRow.loaded_models).where(WorkerRow.queue == Queue.GPU, WorkerRow.seen_at >= since)).all()
    return LiveWorkers(len(loaded), sum(models_key in models for models in loaded))


def models_of(session: Session, run_id: int) -> RunModels | None:
    """Return what opens a run's models: its newest completed job, else its newest."""
    order = ((JobRow.status != JobStatus.COMPLETED), JobRow.created_at.desc(), JobRow.id)
    of = select(JobRow.id, JobRow.spec, JobRunRow.place).join(JobRunRow, JobRunRow.job_id == JobRow.id).where(JobRunRow.run_id == run_id)
    found = session.execute(of.order_by(*order).limit(1)).first()
    if found is None:
        return None
    collected = select(ChunkRow.payload).join(JobRunRow, JobRunRow.job_id == ChunkRow.job_id)
    payload = session.scalar(collected.where(JobRunRow.run_id == run_id, ChunkRow.stage == Stage.COLLECT).limit(1))
    return RunModels(found.spec, found.place, (payload or {}).get("batch_tokens"))


def _changed(session: Session, lease: LiveLease, statement: Any) -> bool:
    own = statement.where(LiveRequestRow.id == lease.id, LiveRequestRow.lease_token == lease.token)
    return changed_rows(session.execute(own.execution_options(synchronize_session=False))) == 1
