"""Read the values of `/metrics` from kept sums and indexed rows.

The cost grows with the jobs, the workers and the leases, and not with chunks, features or calls.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Row, case, func, select
from sqlalchemy.orm import Session

from interp.domain.lifecycle import JOB_ENDS, WORKABLE, ChunkStatus, JobStatus, Queue, Stage
from interp.store.db.dialect import now
from interp.store.db.tables import ChunkRow, FairShareRow, JobRow, LlmTotalRow, StageCountRow, WebhookRow, WorkerRow
from interp.store.llm.call_stats import PICO

Labels = tuple[str, ...]
Readings = Mapping[Labels, float]
QUEUES = (Queue.GPU, Queue.LLM)
FEATURE_STATES = {Stage.MERGE: "collected", Stage.EXPLAIN: "explained", Stage.SCORE: "scored"}


@dataclass(frozen=True, slots=True)
class MetricValues:
    """The values of every metric by label values (`api.http.metrics.METRICS`), in seconds and US dollars.

    Counters (chunks, features, tokens, calls) never fall, whatever is retried or deleted.
    """

    queue_chunks: Readings
    oldest_ready: Readings
    lease_age: Readings
    leases_expired: Readings
    workers: Readings
    jobs: Readings
    chunks: Readings
    features: Readings
    features_failed: Readings
    tokens: Readings
    calls: Readings
    attempts: Readings
    llm_tokens: Readings
    cost: Readings
    unpriced: Readings
    webhooks: Readings


@dataclass(frozen=True, slots=True)
class OpenStage:
    """The open chunks of one stage of a job that is not over."""

    queue: str
    status: str
    waiting: int
    ready: int
    leased: int
    since: datetime


def read(session: Session, worker_seconds: float) -> MetricValues:
    """Return all metrics; workers seen within `worker_seconds` are alive."""
    moment = now(session)
    stages = _open_stages(session)
    return MetricValues(
        queue_chunks=_queue_chunks(stages),
        oldest_ready=_oldest_ready(stages, moment),
        **_leases(session, moment),
        workers=_workers(session, moment - timedelta(seconds=worker_seconds)),
        jobs=_of_all(JobStatus, session.execute(select(JobRow.status, func.count()).group_by(JobRow.status))),
        **_ended(session),
        **_llm(session),
        webhooks=_webhooks(session),
    )


def _open_stages(session: Session) -> list[OpenStage]:
    """Return open stages by one statement, so that no chunk is counted twice."""
    leased = (
        select(ChunkRow.job_id, ChunkRow.stage, func.count().label("number"))
        .where(ChunkRow.status == ChunkStatus.LEASED)
        .group_by(ChunkRow.job_id, ChunkRow.stage)
        .subquery()
    )
    number = func.coalesce(leased.c.number, 0)
    counts = (StageCountRow.queue, JobRow.status, StageCountRow.waiting, StageCountRow.open, number)
    statement = (
        select(*counts, JobRow.created_at, StageCountRow.released_at, FairShareRow.last_claimed_at)
        .join(JobRow, JobRow.id == StageCountRow.job_id)
        .outerjoin(leased, (leased.c.job_id == StageCountRow.job_id) & (leased.c.stage == StageCountRow.stage))
        .outerjoin(FairShareRow, (FairShareRow.job_id == StageCountRow.job_id) & (FairShareRow.queue == StageCountRow.queue))
        .where(JobRow.status.in_([status for status in JobStatus if status not in JOB_ENDS]), StageCountRow.open > 0)
    )
    return [
        OpenStage(queue, status, waiting, still_open - waiting - taken, taken, max(moment for moment in moments if moment))
        for queue, status, waiting, still_open, taken, *moments in session.execute(statement)
    ]


def _queue_chunks(stages: Iterable[OpenStage]) -> Readings:
    """Return open chunks by status; unleased ones of paused or cancelling jobs are `paused`."""
    found: dict[Labels, float] = {(str(queue), status): 0.0 for queue in QUEUES for status in ("waiting", "ready", "leased", "paused")}
    for stage in stages:
        found[stage.queue, "leased"] += stage.leased
        if stage.status in WORKABLE:
            found[stage.queue, "ready"] += stage.ready
            found[stage.queue, "waiting"] += stage.waiting
        else:
            found[stage.queue, "paused"] += stage.ready + stage.waiting
    return found


def _oldest_ready(stages: Iterable[OpenStage], moment: datetime) -> Readings:
    found: dict[Labels, float] = {(str(queue),): 0.0 for queue in QUEUES}
    for stage in stages:
        if stage.ready and stage.status in WORKABLE:
            found[stage.queue,] = max(found[stage.queue,], (moment - stage.since).total_seconds())
    return found


def _leases(session: Session, moment: datetime) -> dict[str, Readings]:
    over = func.sum(case((ChunkRow.lease_expires_at < moment, 1), else_=0))
    statement = select(ChunkRow.queue, func.min(ChunkRow.started_at), over).where(ChunkRow.status == ChunkStatus.LEASED).group_by(ChunkRow.queue)
    ages: dict[Labels, float] = {(str(queue),): 0.0 for queue in QUEUES}
    expired = dict(ages)
    for queue, started, number in session.execute(statement):
        ages[queue,], expired[queue,] = max(0.0, (moment - started).total_seconds()) if started else 0.0, float(number)
    return {"lease_age": ages, "leases_expired": expired}


def _workers(session: Session, since: datetime) -> Readings:
    alive = select(WorkerRow.queue, func.count()).where(WorkerRow.seen_at >= since).group_by(WorkerRow.queue)
    return _of_all(Queue, session.execute(alive))


def _ended(session: Session) -> dict[str, Readings]:
    sums = (func.sum(StageCountRow.done), func.sum(StageCountRow.failed), func.sum(StageCountRow.cancelled), func.sum(StageCountRow.units))
    ends = ("done", "failed", "cancelled")
    chunks: dict[Labels, float] = {(str(stage), end): 0.0 for stage in Stage for end in ends}
    units = dict.fromkeys(map(str, Stage), 0.0)
    for stage, *counts, done in session.execute(select(StageCountRow.stage, *sums).group_by(StageCountRow.stage)):
        chunks |= {(stage, end): float(count) for end, count in zip(ends, counts, strict=True)}
        units[stage] = float(done)
    features: dict[Labels, float] = {(state,): units[stage] for stage, state in FEATURE_STATES.items()}
    failed = float(session.scalar(select(func.sum(JobRow.features_failed))) or 0)
    return {"chunks": chunks, "features": features, "features_failed": {(): failed}, "tokens": {(): units[Stage.COLLECT]}}


def _llm(session: Session) -> dict[str, Readings]:
    names = ("calls", "attempts", "prompt_tokens", "completion_tokens", "picodollars", "unpriced")
    sums = [func.sum(getattr(LlmTotalRow, name)) for name in names]
    found: dict[str, dict[Labels, float]] = {name: defaultdict(float) for name in ("calls", "attempts", "llm_tokens", "cost", "unpriced")}
    for model, status, *totals in session.execute(
        select(LlmTotalRow.model, LlmTotalRow.status, *sums).group_by(LlmTotalRow.model, LlmTotalRow.status)
    ):
        calls, attempts, asked, said, picodollars, unpriced = map(float, totals)
        found["calls"][model, status] += calls
        found["attempts"][model,] += attempts
        found["llm_tokens"][model, "prompt"] += asked
        found["llm_tokens"][model, "completion"] += said
        found["cost"][model,] += picodollars / PICO
        found["unpriced"][model,] += unpriced
    return dict(found)


def _webhooks(session: Session) -> Readings:
    state = case((WebhookRow.next_attempt_at.is_not(None), "waiting"), (WebhookRow.delivered_at.is_not(None), "delivered"), else_="given_up")
    return _of_all(("waiting", "delivered", "given_up"), session.execute(select(state, func.count()).group_by(state)))


def _of_all(names: Iterable[str], counts: Iterable[Row[str, int]]) -> Readings:
    """Return the counts, with 0 for missing names, since alerts need permanent series."""
    found: dict[Labels, float] = {(str(name),): 0.0 for name in names}
    return found | {(name,): float(count) for name, count in counts}
