"""The queue of record: chunks, and the leases on them. Every write of a worker is guarded by its lease token, so no chunk has two owners.

Order of locks, here and in `jobs.py` and `queue.py`: the job's row first, then its chunks. Only `claim` takes a chunk's row alone, and it
never waits for one (SKIP LOCKED).
"""

import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, Result, case, exists, func, select, update
from sqlalchemy.orm import Session

from interp.domain.errors import LeaseLostError
from interp.domain.lifecycle import CHUNK_ENDS, CHUNK_OPEN, QUEUE_OF, WORKABLE, ChunkStatus, JobStatus, Queue, Stage, chunk_sources_of
from interp.planning.plan import ChunkPlan
from interp.planning.retry_plan import ChunkState
from interp.store.db.bulk import upsert
from interp.store.db.dialect import analyze, clock, now, unclaimed
from interp.store.db.tables import ChunkRow, JobRow, StageCountRow
from interp.store.queue import fair_share

# So many new chunks at once make what PostgreSQL knows of the table wrong, and its plans with it.
NEWS = 1_000


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


@dataclass(frozen=True, slots=True)
class Span:
    """Chunks `first` to `last` (inclusive) of a stage, as something to wait for: `stage:first-last`."""

    stage: Stage
    first: int
    last: int

    @property
    def name(self) -> str:
        return f"{self.stage}:{self.first}-{self.last}"

    @classmethod
    def of(cls, name: str) -> "Span":
        stage, _, numbers = name.partition(":")
        first, _, last = numbers.partition("-")
        return cls(Stage(stage), int(first), int(last))


def add(session: Session, job_id: str, priority: int, plans: Sequence[ChunkPlan]) -> list[str]:
    """Writes the chunks of a plan; returns the ids of those that may start at once."""
    moment, spans = now(session), _spans(plans)
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
            "awaited_in": spans.get((plan.stage, plan.number)),
            "units_total": plan.units,
            "created_at": moment,
        }
        for plan in plans
    ]
    if new:
        upsert(session, ChunkRow, new, keys=["id"], update=[])
        if len(new) >= NEWS:
            analyze(session, ChunkRow)
        fair_share.add_queues(session, job_id, {QUEUE_OF[plan.stage] for plan in plans})
    return [row["id"] for row in new if row["status"] == ChunkStatus.READY]


def claim(
    session: Session,
    queue: Queue,
    owner: str,
    seconds: float,
    chunk_id: str | None = None,
    loaded_models: Collection[str] = frozenset(),
    model_affinity_seconds: float = 60.0,
) -> Lease | None:
    """Leases the next chunk of the job whose turn it is (`turns.in_order`); None when none is ready. It never waits for another worker.

    `chunk_id` is the chunk of the doorbell that was heard. It is a hint that somebody should look and no more: turns go before it.
    Chunks of jobs that are paused, being cancelled or over are passed by.
    """
    if chunk_id is not None:
        _answer(session, chunk_id)
    moment = now(session)
    for job in fair_share.in_order(fair_share.candidates(session, queue), loaded_models, moment, model_affinity_seconds):
        ready = (
            select(ChunkRow, JobRow.status)
            .join(JobRow, JobRow.id == ChunkRow.job_id)
            .where(ChunkRow.job_id == job.job_id, ChunkRow.queue == queue, ChunkRow.status == ChunkStatus.READY, JobRow.status.in_(WORKABLE))
            .order_by(ChunkRow.number)
            .limit(1)
        )
        found = session.execute(unclaimed(ready, of=ChunkRow)).first()
        if found is not None:
            fair_share.mark_claimed(session, job.job_id, queue, moment)
            return _lend(session, found[0], owner, moment, seconds, starts_job=found[1] == JobStatus.QUEUED)
    return None


def heartbeat(session: Session, lease: Lease, seconds: float, units_done: int) -> bool:
    """Renews one lease and writes progress. False when the lease is gone or the job is no longer to be worked on."""
    return bool(renew(session, [(lease, units_done)], seconds))


def renew(session: Session, held: Sequence[tuple[Lease, int]], seconds: float) -> set[str]:
    """Renews leases and writes how many units of each are done; the tokens of those that are still held and wanted, in one statement."""
    units = case({lease.token: done for lease, done in held}, value=ChunkRow.lease_token)
    statement = (
        update(ChunkRow)
        .where(*_held_and_wanted([lease for lease, _ in held]))
        .values(lease_expires_at=clock(session, timedelta(seconds=seconds)), units_done=units)
        .returning(ChunkRow.lease_token)
    )
    return {str(token) for token in session.scalars(statement.execution_options(synchronize_session=False))}


def wanted(session: Session, leases: Sequence[Lease]) -> set[str]:
    """The tokens of the leases that are still held, and whose jobs are still to be worked on."""
    return {str(token) for token in session.scalars(select(ChunkRow.lease_token).where(*_held_and_wanted(leases)))}


def done(session: Session, lease: Lease, result: dict[str, Any] | None) -> None:
    """The chunk is done. Raises LeaseLost when it is no longer this worker's: then the whole transaction must be rolled back."""
    _end(session, lease, ChunkStatus.DONE, units_done=ChunkRow.units_total, result=result, error=None)


def failed(session: Session, lease: Lease, problem: dict[str, Any]) -> None:
    """The chunk is given up, with the problem that ended it. Raises LeaseLost."""
    _end(session, lease, ChunkStatus.FAILED, error=problem)


def cancelled(session: Session, lease: Lease) -> None:
    """The chunk's job was cancelled or has failed while it was worked on. Raises LeaseLost."""
    _end(session, lease, ChunkStatus.CANCELLED)


def again(session: Session, lease: Lease, problem: dict[str, Any] | None, counts: bool) -> None:
    """Back to the queue: after an error (`counts`: it was an attempt), or because the worker stops. Raises LeaseLost."""
    attempts = lease.attempt if counts else lease.attempt - 1
    values = {"attempts": attempts, "units_done": 0, "error": problem, "notified_at": None}
    if not _move(session, ChunkStatus.READY, *held(lease), **values, **NO_LEASE):
        raise LeaseLostError(f"chunk {lease.chunk_id} is no longer ours")


@dataclass(frozen=True, slots=True)
class Released:
    """What the end of a chunk set free: ids of chunks that became ready, and whether its stage is over."""

    chunk_ids: list[str]
    stage_is_over: bool


def release_waiting(session: Session, lease: Lease) -> Released:
    """Makes ready what waited for this chunk, which has ended, and for what it was the last open one of: its stage, or a span of it.

    The caller holds the job's row: otherwise two last chunks that end at once would each see the other one open.
    """
    is_over = stage_is_over(session, lease.job_id, lease.stage)
    spans = session.scalar(select(ChunkRow.awaited_in).where(ChunkRow.id == lease.chunk_id)) or ()
    ended = [f"{lease.stage}:{lease.number}", *([lease.stage] if is_over else [])]
    ended += [span.name for span in map(Span.of, spans) if not _is_open(session, lease.job_id, span)]
    waiting = (ChunkRow.job_id == lease.job_id, ChunkRow.status == ChunkStatus.WAITING, ChunkRow.waits_for.in_(ended))
    statement = update(ChunkRow).where(*waiting).values(status=ChunkStatus.READY)
    return Released(list(session.scalars(statement.returning(ChunkRow.id).execution_options(synchronize_session=False))), is_over)


def stage_is_over(session: Session, job_id: str, stage: Stage) -> bool:
    """Whether no chunk of the stage is open any more."""
    # The sum that triggers keep, under the same lock of the job's row: no plan of a database can make a look at all chunks of it.
    still_open = session.scalar(select(StageCountRow.open).where(StageCountRow.job_id == job_id, StageCountRow.stage == stage))
    return not still_open


def cancel_open(session: Session, job_id: str) -> None:
    """Cancels all chunks of a job that nobody works on."""
    unleased = chunk_sources_of(ChunkStatus.CANCELLED) - {ChunkStatus.LEASED}
    _move(session, ChunkStatus.CANCELLED, ChunkRow.job_id == job_id, ChunkRow.status.in_(unleased), finished_at=clock(session))


def withdraw_notifications(session: Session, chunk_ids: Sequence[str]) -> None:
    """The bells of these chunks could not be rung: they are due again."""
    session.execute(update(ChunkRow).where(ChunkRow.id.in_(chunk_ids)).values(notified_at=None).execution_options(synchronize_session=False))


def forget_notifications(session: Session, job_id: str) -> None:
    """Forgets that the job's ready chunks were rung for: those bells were answered while it was paused."""
    ready = update(ChunkRow).where(ChunkRow.job_id == job_id, ChunkRow.status == ChunkStatus.READY)
    session.execute(ready.values(notified_at=None).execution_options(synchronize_session=False))


def states(session: Session, job_id: str) -> list[ChunkState]:
    """All chunks of a job, as far as it matters for opening some of them again."""
    columns = (
        ChunkRow.id,
        ChunkRow.stage,
        ChunkRow.number,
        ChunkRow.status,
        ChunkRow.waits_for,
        ChunkRow.payload,
        ChunkRow.units_total,
        ChunkRow.result,
        ChunkRow.error,
    )
    return [
        ChunkState(
            chunk_id,
            Stage(stage),
            number,
            ChunkStatus(status),
            waits_for,
            [(start, stop) for start, stop in payload.get("features", ())],
            units,
            int((result or {}).get("failed", 0)),
            (error or {}).get("code"),
        )
        for chunk_id, stage, number, status, waits_for, payload, units, result, error in session.execute(
            select(*columns).where(ChunkRow.job_id == job_id)
        )
    ]


def reopen(session: Session, target: ChunkStatus, chunk_ids: Sequence[str]) -> None:
    """These chunks have ended, and are to be worked on as if they never had been."""
    fresh = {"attempts": 0, "units_done": 0, "error": None, "result": None, "notified_at": None, "started_at": None, "finished_at": None}
    for start in range(0, len(chunk_ids), NEWS):
        _move(session, target, ChunkRow.id.in_(chunk_ids[start : start + NEWS]), ChunkRow.status.in_(CHUNK_ENDS), **fresh, **NO_LEASE)


def any_leased(session: Session, job_id: str) -> bool:
    """Whether somebody still works on the job."""
    return bool(session.scalar(select(exists().where(ChunkRow.job_id == job_id, ChunkRow.status == ChunkStatus.LEASED))))


def expired(session: Session, is_gone: Callable[[str], bool], chunk_id: str | None = None) -> list[Lease]:
    """Leases past their time, and those whose owner is known to be gone. With `chunk_id` that chunk alone, and its row is locked."""
    moment = now(session)
    leased = select(ChunkRow).where(ChunkRow.status == ChunkStatus.LEASED).execution_options(populate_existing=True)
    if chunk_id is not None:
        leased = unclaimed(leased.where(ChunkRow.id == chunk_id), of=ChunkRow)
    return [_lease(chunk) for chunk in session.scalars(leased) if _is_over(chunk, moment, is_gone)]


def due_notifications(session: Session, queue: Queue, window: int, seconds: float, most: int | None = None) -> list[str]:
    """Ready chunks that were never rung, or not within `seconds`; marks them as rung. The jobs whose turn is next come first.

    At most so many that with the bells of the last `seconds` that nobody has answered there are `window` of them, and at most `most`.
    """
    moment = now(session)
    late = moment - timedelta(seconds=seconds)
    room = window - int(session.scalar(select(func.count()).where(ChunkRow.queue == queue, ChunkRow.notified_at >= late)) or 0)
    room = room if most is None else min(room, most)
    unrung = ChunkRow.notified_at.is_(None) | (ChunkRow.notified_at < late)
    due: list[str] = []
    for job in fair_share.in_order(fair_share.candidates(session, queue, unrung), (), moment, 0.0) if room > 0 else ():
        ready = select(ChunkRow.id).where(ChunkRow.job_id == job.job_id, ChunkRow.queue == queue, ChunkRow.status == ChunkStatus.READY, unrung)
        due += session.scalars(unclaimed(ready.order_by(ChunkRow.number).limit(room - len(due)), of=ChunkRow))
        if len(due) >= room:
            break
    if due:
        session.execute(update(ChunkRow).where(ChunkRow.id.in_(due)).values(notified_at=moment).execution_options(synchronize_session=False))
    return due


NO_LEASE: dict[str, Any] = {"lease_owner": None, "lease_token": None, "lease_expires_at": None}


def held(lease: Lease) -> tuple[ColumnElement[bool], ...]:
    """Whether the chunk is still the lease's."""
    return (ChunkRow.id == lease.chunk_id, ChunkRow.lease_token == lease.token, ChunkRow.status == ChunkStatus.LEASED)


def _held_and_wanted(leases: Sequence[Lease]) -> tuple[ColumnElement[bool], ...]:
    workable = exists().where(JobRow.id == ChunkRow.job_id, JobRow.status.in_(WORKABLE))
    ids, tokens = [lease.chunk_id for lease in leases], [lease.token for lease in leases]
    return (ChunkRow.id.in_(ids), ChunkRow.lease_token.in_(tokens), ChunkRow.status == ChunkStatus.LEASED, workable)


def _move(session: Session, target: ChunkStatus, *where: ColumnElement[bool], **values: Any) -> int:
    """The one place that changes a chunk's status, and only as the lifecycle allows. Returns how many chunks moved."""
    statement = update(ChunkRow).where(*where, ChunkRow.status.in_(chunk_sources_of(target))).values(status=target, **values)
    return rows(session.execute(statement.execution_options(synchronize_session=False)))


def _spans(plans: Sequence[ChunkPlan]) -> dict[tuple[Stage, int], list[str]]:
    """The names of the spans that something waits for, by the chunks that are in them."""
    found: dict[tuple[Stage, int], list[str]] = {}
    for span in {Span.of(plan.waits_for) for plan in plans if plan.waits_for and "-" in plan.waits_for}:
        for number in range(span.first, span.last + 1):
            found.setdefault((span.stage, number), []).append(span.name)
    return found


def _is_open(session: Session, job_id: str, span: Span) -> bool:
    within = ChunkRow.number.between(span.first, span.last)
    statuses = session.scalars(select(ChunkRow.status).where(ChunkRow.job_id == job_id, ChunkRow.stage == span.stage, within))
    return any(status in CHUNK_OPEN for status in statuses)


def _lend(session: Session, chunk: ChunkRow, owner: str, moment: datetime, seconds: float, *, starts_job: bool) -> Lease:
    token = str(uuid.uuid4())
    lease = {"lease_owner": owner, "lease_token": token, "lease_expires_at": moment + timedelta(seconds=seconds)}
    attempt = chunk.attempts + 1
    _move(session, ChunkStatus.LEASED, ChunkRow.id == chunk.id, **lease, attempts=attempt, units_done=0, started_at=moment)
    return Lease(chunk.id, chunk.job_id, Stage(chunk.stage), chunk.number, chunk.payload, attempt, chunk.units_total, owner, token, starts_job)


def _answer(session: Session, chunk_id: str) -> None:
    """The bell of this chunk was heard: it is no longer among those that wait for an answer."""
    rung = select(ChunkRow.id).where(ChunkRow.id == chunk_id, ChunkRow.notified_at.is_not(None))
    if session.scalar(unclaimed(rung, of=ChunkRow)) is not None:
        session.execute(update(ChunkRow).where(ChunkRow.id == chunk_id).values(notified_at=None).execution_options(synchronize_session=False))


def _end(session: Session, lease: Lease, target: ChunkStatus, **values: Any) -> None:
    if not _move(session, target, *held(lease), finished_at=clock(session), **values, **NO_LEASE):
        raise LeaseLostError(f"chunk {lease.chunk_id} is no longer ours")


def rows(result: Result[Any]) -> int:
    """How many rows an UPDATE changed."""
    return cast("CursorResult[Any]", result).rowcount


def _is_over(chunk: ChunkRow, moment: datetime, is_gone: Callable[[str], bool]) -> bool:
    if chunk.lease_owner is None or chunk.lease_expires_at is None or chunk.lease_expires_at < moment:
        return True
    # A lease that begins in the future, and was not renewed since: the clock went back, and by it the lease would last who knows how long.
    is_of_the_future = chunk.started_at is not None and moment < chunk.started_at < chunk.lease_expires_at
    return is_of_the_future or is_gone(chunk.lease_owner)


def _lease(chunk: ChunkRow) -> Lease:
    owner, token = chunk.lease_owner or "", chunk.lease_token or ""
    return Lease(
        chunk.id, chunk.job_id, Stage(chunk.stage), chunk.number, chunk.payload, chunk.attempts, chunk.units_total, owner, token, starts_job=False
    )
