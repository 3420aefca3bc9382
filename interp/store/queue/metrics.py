"""Read the values of `/metrics` from kept sums and indexed rows.

The cost grows with the jobs, the workers and the leases, and not with chunks, features or calls.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from sqlalchemy import Row, case, func, select
from sqlalchemy.orm import Session

from interp.domain.lifecycle import JOB_ENDS, WORKABLE, ChunkStatus, JobStatus, Queue, Stage
from interp.store.db.dialect import now
from interp.store.db.tables import ChunkRow, FairShareRow, JobRow, LlmTotalRow, StageCountRow, WebhookRow, WorkerRow
from interp.store.llm.call_stats import PICO, TOTALS
from interp.store.queue.chunks import leased_by_stage

Labels = tuple[str, ...]
Readings = Mapping[Labels, float]
QUEUES = (str(Queue.GPU), str(Queue.LLM))
FEATURE_STATES = {Stage.MERGE: "collected", Stage.EXPLAIN: "explained", Stage.SCORE: "scored"}


def read(session: Session, worker_seconds: float) -> dict[str, Readings]:
    """Return every metric (`api.http.metrics.METRICS`) by label values, in seconds and US dollars.

    Workers seen within `worker_seconds` are alive. Counters (chunks, features, tokens, calls) never fall, whatever is retried or deleted.
    """
    moment = now(session)
    alive = select(WorkerRow.queue, func.count()).where(WorkerRow.seen_at >= moment - timedelta(seconds=worker_seconds)).group_by(WorkerRow.queue)
    sent = case((WebhookRow.next_attempt_at.is_not(None), "waiting"), (WebhookRow.delivered_at.is_not(None), "delivered"), else_="given_up")
    return {
        **_open(session, moment),
        **_leases(session, moment),
        "workers": _of_all(Queue, session.execute(alive)),
        "jobs": _of_all(JobStatus, session.execute(select(JobRow.status, func.count()).group_by(JobRow.status))),
        **_ended(session),
        **_llm(session),
        "webhooks": _of_all(("waiting", "delivered", "given_up"), session.execute(select(sent, func.count()).group_by(sent))),
    }


def _open(session: Session, moment: datetime) -> dict[str, Readings]:
    """Return open chunks by status, and the longest wait of ready ones.

    Unleased chunks of paused or cancelling jobs are `paused`. One statement reads all, so that no chunk is counted twice.
    """
    leased = leased_by_stage()
    counts = (StageCountRow.queue, JobRow.status, StageCountRow.waiting, StageCountRow.open, func.coalesce(leased.c.number, 0))
    statement = (
        select(*counts, JobRow.created_at, StageCountRow.released_at, FairShareRow.last_claimed_at)
        .join(JobRow, JobRow.id == StageCountRow.job_id)
        .outerjoin(leased, (leased.c.job_id == StageCountRow.job_id) & (leased.c.stage == StageCountRow.stage))
        .outerjoin(FairShareRow, (FairShareRow.job_id == StageCountRow.job_id) & (FairShareRow.queue == StageCountRow.queue))
        .where(JobRow.status.not_in(JOB_ENDS), StageCountRow.open > 0)
    )
    chunks: dict[Labels, float] = {(queue, status): 0.0 for queue in QUEUES for status in ("waiting", "ready", "leased", "paused")}
    oldest: dict[Labels, float] = {(queue,): 0.0 for queue in QUEUES}
    for queue, status, waiting, still_open, taken, *moments in session.execute(statement):
        ready = still_open - waiting - taken
        is_workable = status in WORKABLE
        chunks[queue, "leased"] += taken
        chunks[queue, "ready" if is_workable else "paused"] += ready
        chunks[queue, "waiting" if is_workable else "paused"] += waiting
        if ready and is_workable:
            last = max(time for time in moments if time)
            oldest[queue,] = max(oldest[queue,], (moment - last).total_seconds())
    return {"queue_chunks": chunks, "oldest_ready": oldest}


def _leases(session: Session, moment: datetime) -> dict[str, Readings]:
    over = func.sum(case((ChunkRow.lease_expires_at < moment, 1), else_=0))
    statement = select(ChunkRow.queue, func.min(ChunkRow.started_at), over).where(ChunkRow.status == ChunkStatus.LEASED).group_by(ChunkRow.queue)
    ages: dict[Labels, float] = {(queue,): 0.0 for queue in QUEUES}
    expired = dict(ages)
    for queue, started, number in session.execute(statement):
        ages[queue,], expired[queue,] = max(0.0, (moment - started).total_seconds()) if started else 0.0, float(number)
    return {"lease_age": ages, "leases_expired": expired}


def _ended(session: Session) -> dict[str, Readings]:
    ends = ("done", "failed", "cancelled")
    sums = [func.sum(getattr(StageCountRow, name)) for name in (*ends, "units")]
    chunks: dict[Labels, float] = {(str(stage), end): 0.0 for stage in Stage for end in ends}
    units = dict.fromkeys(map(str, Stage), 0.0)
    for stage, *counts, done in session.execute(select(StageCountRow.stage, *sums).group_by(StageCountRow.stage)):
        chunks |= {(stage, end): float(count) for end, count in zip(ends, counts, strict=True)}
        units[stage] = float(done)
    features: dict[Labels, float] = {(state,): units[stage] for stage, state in FEATURE_STATES.items()}
    failed = float(session.scalar(select(func.sum(JobRow.features_failed))) or 0)
    return {"chunks": chunks, "features": features, "features_failed": {(): failed}, "tokens": {(): units[Stage.COLLECT]}}


def _llm(session: Session) -> dict[str, Readings]:
    sums = [func.sum(LlmTotalRow.__table__.c[name]) for name in TOTALS]
    found: dict[str, dict[Labels, float]] = {
        name: defaultdict(float) for name in ("calls", "attempts", "llm_tokens", "cached_tokens", "cost", "unpriced")
    }
    for model, status, *totals in session.execute(
        select(LlmTotalRow.model, LlmTotalRow.status, *sums).group_by(LlmTotalRow.model, LlmTotalRow.status)
    ):
        calls, attempts, asked, said, cached, picodollars, unpriced = map(float, totals)
        found["calls"][model, status] += calls
        found["attempts"][model,] += attempts
        found["llm_tokens"][model, "prompt"] += asked
        found["llm_tokens"][model, "completion"] += said
        found["cached_tokens"][model,] += cached
        found["cost"][model,] += picodollars / PICO
        found["unpriced"][model,] += unpriced
    return dict(found)


def _of_all(names: Iterable[str], counts: Iterable[Row[str, int]]) -> Readings:
    """Return the counts, with 0 for missing names, since alerts need permanent series."""
    found: dict[Labels, float] = {(str(name),): 0.0 for name in names}
    return found | {(name,): float(count) for name, count in counts}
