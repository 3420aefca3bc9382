"""Store chunks and their leases, whose token guards every write of a worker.

So no chunk has two owners. Order of locks, here and in `jobs.py` and `completion.py`: the job's row first, then its chunks. Only `claim` locks a
chunk's row alone, and it never waits for one (SKIP LOCKED).
"""

import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, Result, Subquery, case, exists, func, select, update
from sqlalchemy.orm import Session

from interp.domain.errors import LeaseLostError
from interp.domain.lifecycle import (
    BARRIERS,
    CHUNK_ENDS,
    CHUNK_OPEN,
    QUEUE_OF,
    WORKABLE,
    ChunkStatus,
    JobStatus,
    Queue,
    Stage,
    chunk_sources_of,
    stages_before,
)
from interp.planning.plan import ChunkPlan
from interp.planning.retry_plan import ChunkState
from interp.store.db.bulk import upsert
from interp.store.db.dialect import analyze, clock, now, skip_locked
from interp.store.db.tables import ChunkRow, JobRow, StageCountRow
from interp.store.queue import fair_share

# So many new chunks at once make PostgreSQL's statistics of the table wrong, and its plans with them.
ANALYZE_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of one owner to work on a chunk, proved by `token`."""

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
    """Chunks `first` to `last` (inclusive) of an awaited stage: `stage:first-last`."""

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
    """Write the chunks of a plan; return the ids of those that are ready."""
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
        # With RETURNING many rows are one statement, and the triggers that count chunks run once for each.
        upsert(session, ChunkRow, new, keys=["id"], update=[], returning=[ChunkRow.id])
        if len(new) >= ANALYZE_ROWS:
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
    """Lease the next chunk by `fair_share.in_order`, or return None; never waits for a worker.

    `chunk_id` is the chunk that the worker was notified of: a hint to look, no claim to that chunk. Chunks of jobs that are paused, being cancelled
    or over are skipped.
    """
    if chunk_id is not None:
        _mark_answered(session, chunk_id)
    moment = now(session)
    for job in fair_share.in_order(fair_share.candidates(session, queue), loaded_models, moment, model_affinity_seconds):
        ready = (
            select(ChunkRow, JobRow.status)
            .join(JobRow, JobRow.id == ChunkRow.job_id)
            .where(ChunkRow.job_id == job.job_id, ChunkRow.queue == queue, ChunkRow.status == ChunkStatus.READY, JobRow.status.in_(WORKABLE))
            .order_by(ChunkRow.number)
            .limit(1)
        )
        found = session.execute(skip_locked(ready, of=ChunkRow)).first()
        if found is not None:
            fair_share.mark_claimed(session, job.job_id, queue, moment)
            return _lend(session, found[0], owner, moment, seconds, starts_job=found[1] == JobStatus.QUEUED)
    return None


def renew(session: Session, leases: Sequence[tuple[Lease, int]], seconds: float) -> set[str]:
    """Renew leases, write their units done, and return tokens still held and wanted."""
    units = case({lease.token: done for lease, done in leases}, value=ChunkRow.lease_token)
    statement = (
        update(ChunkRow)
        .where(*_held_and_wanted([lease for lease, _ in leases]))
        .values(lease_expires_at=clock(session, timedelta(seconds=seconds)), units_done=units)
        .returning(ChunkRow.lease_token)
    )
    return {str(token) for token in session.scalars(statement.execution_options(synchronize_session=False))}


def wanted(session: Session, leases: Sequence[Lease]) -> set[str]:
    """Return the tokens of leases that are held and whose jobs still run."""
    return {str(token) for token in session.scalars(select(ChunkRow.lease_token).where(*_held_and_wanted(leases)))}


def done(session: Session, lease: Lease, result: dict[str, Any] | None) -> None:
    """Mark the chunk done, or raise LeaseLostError, after which the transaction must be rolled back."""
    end(session, lease, ChunkStatus.DONE, units_done=ChunkRow.units_total, result=result, error=None)


def end(session: Session, lease: Lease, target: ChunkStatus, **values: Any) -> None:
    """Mark the chunk done, failed or cancelled, or raise LeaseLostError."""
    if not _move(session, target, *held(lease), finished_at=clock(session), **values, **NO_LEASE):
        raise LeaseLostError(f"chunk {lease.chunk_id} is no longer ours")


def again(session: Session, lease: Lease, problem: dict[str, Any] | None, counts: bool) -> None:
    """Return the chunk to the queue (`counts`: an attempt failed), or raise LeaseLostError."""
    attempts = lease.attempt if counts else lease.attempt - 1
    values = {"attempts": attempts, "units_done": 0, "error": problem, "notified_at": None}
    if not _move(session, ChunkStatus.READY, *held(lease), **values, **NO_LEASE):
        raise LeaseLostError(f"chunk {lease.chunk_id} is no longer ours")


def release_waiting(session: Session, lease: Lease) -> list[str]:
    """Make ready what waited for this chunk, its stage or a span; return ids.

    The caller holds the job's row: otherwise two last chunks that end at once would each see the other one open.
    """
    is_over = stage_is_over(session, lease.job_id, lease.stage)
    spans = session.scalar(select(ChunkRow.awaited_in).where(ChunkRow.id == lease.chunk_id)) or ()
    ended = [f"{lease.stage}:{lease.number}", *([lease.stage] if is_over else [])]
    ended += [span.name for span in map(Span.of, spans) if not _is_open(session, lease.job_id, span)]
    released = _release(session, lease.job_id, ChunkRow.waits_for.in_(ended), ChunkRow.stage.not_in(BARRIERS))
    free = [stage for stage in BARRIERS if _are_over(session, lease.job_id, stages_before(stage))] if is_over else []
    return released + (_release(session, lease.job_id, ChunkRow.stage.in_(free), ChunkRow.waits_for.is_not(None)) if free else [])


def _release(session: Session, job_id: str, *where: ColumnElement[bool]) -> list[str]:
    waiting = (ChunkRow.job_id == job_id, ChunkRow.status == ChunkStatus.WAITING, *where)
    statement = update(ChunkRow).where(*waiting).values(status=ChunkStatus.READY).returning(ChunkRow.id)
    return list(session.scalars(statement.execution_options(synchronize_session=False)))


def _are_over(session: Session, job_id: str, stages: Sequence[Stage]) -> bool:
    still = select(StageCountRow.stage).where(StageCountRow.job_id == job_id, StageCountRow.stage.in_(stages), StageCountRow.open > 0)
    return session.scalars(still.limit(1)).first() is None


def stage_is_over(session: Session, job_id: str, stage: Stage) -> bool:
    """Return whether the stage has no open chunk, by its sums, without a scan."""
    return not session.scalar(select(StageCountRow.open).where(StageCountRow.job_id == job_id, StageCountRow.stage == stage))


def cancel_open(session: Session, job_id: str) -> None:
    """Cancel all chunks of a job that no worker has leased."""
    unleased = chunk_sources_of(ChunkStatus.CANCELLED) - {ChunkStatus.LEASED}
    _move(session, ChunkStatus.CANCELLED, ChunkRow.job_id == job_id, ChunkRow.status.in_(unleased), finished_at=clock(session))


def states(session: Session, job_id: str) -> list[ChunkState]:
    """Return all chunks of a job, with the fields that matter for reopening."""
    columns = (ChunkRow.id, ChunkRow.stage, ChunkRow.number, ChunkRow.status, ChunkRow.waits_for, ChunkRow.units_total)
    statement = select(*columns, ChunkRow.payload, ChunkRow.result, ChunkRow.error).where(ChunkRow.job_id == job_id)
    return [
        ChunkState(
            chunk_id,
            Stage(stage),
            number,
            ChunkStatus(status),
            waits_for,
            features=[(start, stop) for start, stop in payload.get("features", ())],
            dictionary=payload.get("dictionary", 0),
            units=units,
            failed=int((result or {}).get("failed", 0)),
            error=(error or {}).get("code"),
        )
        for chunk_id, stage, number, status, waits_for, units, payload, result, error in session.execute(statement)
    ]


def errors(session: Session, job_id: str, stage: Stage) -> dict[int, dict[str, Any]]:
    """Return the errors of a stage's failed chunks by number."""
    of = (ChunkRow.job_id == job_id, ChunkRow.stage == stage, ChunkRow.status == ChunkStatus.FAILED)
    return {number: error or {} for number, error in session.execute(select(ChunkRow.number, ChunkRow.error).where(*of).order_by(ChunkRow.number))}


def reopen(session: Session, target: ChunkStatus, chunk_ids: Sequence[str]) -> None:
    """Reopen chunks that have ended, as if no worker had begun them."""
    fresh = {"attempts": 0, "units_done": 0, "error": None, "result": None, "notified_at": None, "started_at": None, "finished_at": None}
    for start in range(0, len(chunk_ids), ANALYZE_ROWS):
        some = chunk_ids[start : start + ANALYZE_ROWS]
        _move(session, target, ChunkRow.id.in_(some), ChunkRow.status.in_(CHUNK_ENDS), **fresh, **NO_LEASE)


def any_leased(session: Session, job_id: str) -> bool:
    """Return whether a worker has leased a chunk of the job."""
    return bool(session.scalar(select(exists().where(ChunkRow.job_id == job_id, ChunkRow.status == ChunkStatus.LEASED))))


def leased(session: Session, job_id: str, stage: Stage) -> list[Lease]:
    """Return the leases on a job's chunks of one stage, by number."""
    rows = select(ChunkRow).where(ChunkRow.job_id == job_id, ChunkRow.stage == stage, ChunkRow.status == ChunkStatus.LEASED)
    return [_lease(chunk) for chunk in session.scalars(rows.order_by(ChunkRow.number))]


def leased_by_stage(*where: ColumnElement[bool]) -> Subquery:
    """Return the query for leased chunks: number, units done, first start, by stage."""
    sums = (func.count().label("number"), func.sum(ChunkRow.units_done).label("units"), func.min(ChunkRow.started_at).label("started_at"))
    stages = select(ChunkRow.job_id, ChunkRow.stage, *sums).where(*where, ChunkRow.status == ChunkStatus.LEASED)
    return stages.group_by(ChunkRow.job_id, ChunkRow.stage).subquery()


def repeated(session: Session, job_id: str) -> dict[str, int]:
    """Return how often chunks were begun again, by `stage number`, where they were."""
    columns = select(ChunkRow.stage, ChunkRow.number, ChunkRow.attempts).where(ChunkRow.job_id == job_id, ChunkRow.attempts > 1)
    return {f"{stage} {number}": attempts - 1 for stage, number, attempts in session.execute(columns.order_by(ChunkRow.stage, ChunkRow.number))}


def expired(session: Session, is_gone: Callable[[str], bool], chunk_id: str | None = None) -> list[Lease]:
    """Return leases that expired or whose owner is gone; locks the row of `chunk_id`."""
    moment = now(session)
    rows = select(ChunkRow).where(ChunkRow.status == ChunkStatus.LEASED).execution_options(populate_existing=True)
    if chunk_id is not None:
        rows = skip_locked(rows.where(ChunkRow.id == chunk_id), of=ChunkRow)
    return [_lease(chunk) for chunk in session.scalars(rows) if _is_over(chunk, moment, is_gone)]


def due_notifications(session: Session, queue: Queue, window: int, seconds: float, most: int | None = None) -> list[str]:
    """Return ready chunks not notified within `seconds`, by `fair_share`, and mark them notified.

    With the unanswered notifications of the last `seconds` there are at most `window`; at most `most` are returned.
    """
    moment = now(session)
    late = moment - timedelta(seconds=seconds)
    limit = window - int(session.scalar(select(func.count()).where(ChunkRow.queue == queue, ChunkRow.notified_at >= late)) or 0)
    limit = limit if most is None else min(limit, most)
    is_due = ChunkRow.notified_at.is_(None) | (ChunkRow.notified_at < late)
    due: list[str] = []
    for job in fair_share.in_order(fair_share.candidates(session, queue, is_due), (), moment, 0.0) if limit > 0 else ():
        ready = select(ChunkRow.id).where(ChunkRow.job_id == job.job_id, ChunkRow.queue == queue, ChunkRow.status == ChunkStatus.READY, is_due)
        due += session.scalars(skip_locked(ready.order_by(ChunkRow.number).limit(limit - len(due)), of=ChunkRow))
        if len(due) >= limit:
            break
    if due:
        _set_notified(session, moment, ChunkRow.id.in_(due))
    return due


def withdraw_notifications(session: Session, chunk_ids: Sequence[str]) -> None:
    """Make notifications that could not be sent due again."""
    _set_notified(session, None, ChunkRow.id.in_(chunk_ids))


def forget_notifications(session: Session, job_id: str) -> None:
    """Make notifications due again that workers answered while the job was paused."""
    _set_notified(session, None, ChunkRow.job_id == job_id, ChunkRow.status == ChunkStatus.READY)


NO_LEASE: dict[str, Any] = {"lease_owner": None, "lease_token": None, "lease_expires_at": None}


def held(lease: Lease) -> tuple[ColumnElement[bool], ...]:
    """Return the condition that the lease still holds its chunk."""
    return (ChunkRow.id == lease.chunk_id, ChunkRow.lease_token == lease.token, ChunkRow.status == ChunkStatus.LEASED)


def changed_rows(result: Result[Any]) -> int:
    """Return how many rows an UPDATE or a DELETE changed."""
    return cast("CursorResult[Any]", result).rowcount


def _held_and_wanted(leases: Sequence[Lease]) -> tuple[ColumnElement[bool], ...]:
    workable = exists().where(JobRow.id == ChunkRow.job_id, JobRow.status.in_(WORKABLE))
    ids, tokens = [lease.chunk_id for lease in leases], [lease.token for lease in leases]
    return (ChunkRow.id.in_(ids), ChunkRow.lease_token.in_(tokens), ChunkRow.status == ChunkStatus.LEASED, workable)


def _move(session: Session, target: ChunkStatus, *where: ColumnElement[bool], **values: Any) -> int:
    """Change chunks' status as the lifecycle allows (nothing else does); return how many."""
    statement = update(ChunkRow).where(*where, ChunkRow.status.in_(chunk_sources_of(target))).values(status=target, **values)
    return changed_rows(session.execute(statement.execution_options(synchronize_session=False)))


def _spans(plans: Sequence[ChunkPlan]) -> dict[tuple[Stage, int], list[str]]:
    """Return the names of awaited spans, by the chunks in them."""
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
    lease = replace(_lease(chunk), owner=owner, token=str(uuid.uuid4()), attempt=chunk.attempts + 1, starts_job=starts_job)
    values = {"lease_owner": owner, "lease_token": lease.token, "lease_expires_at": moment + timedelta(seconds=seconds), "attempts": lease.attempt}
    _move(session, ChunkStatus.LEASED, ChunkRow.id == chunk.id, **values, units_done=0, started_at=moment)
    return lease


def _lease(chunk: ChunkRow) -> Lease:
    owner, token = chunk.lease_owner or "", chunk.lease_token or ""
    return Lease(
        chunk.id, chunk.job_id, Stage(chunk.stage), chunk.number, chunk.payload, chunk.attempts, chunk.units_total, owner, token, starts_job=False
    )


def _mark_answered(session: Session, chunk_id: str) -> None:
    """Mark the chunk's notification answered, without waiting for the row."""
    notified = select(ChunkRow.id).where(ChunkRow.id == chunk_id, ChunkRow.notified_at.is_not(None))
    if session.scalar(skip_locked(notified, of=ChunkRow)) is not None:
        _set_notified(session, None, ChunkRow.id == chunk_id)


def _set_notified(session: Session, moment: datetime | None, *where: ColumnElement[bool]) -> None:
    session.execute(update(ChunkRow).where(*where).values(notified_at=moment).execution_options(synchronize_session=False))


def _is_over(chunk: ChunkRow, moment: datetime, is_gone: Callable[[str], bool]) -> bool:
    if chunk.lease_owner is None or chunk.lease_expires_at is None or chunk.lease_expires_at < moment:
        return True
    # The lease begins in the future and was not renewed since: the clock went back, and the lease would last far too long.
    is_of_the_future = chunk.started_at is not None and moment < chunk.started_at < chunk.lease_expires_at
    return is_of_the_future or is_gone(chunk.lease_owner)
