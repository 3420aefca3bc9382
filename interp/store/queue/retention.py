"""Delete rows that no result needs, some time after their job has ended.

A pass reads a table once in key order, a few rows per transaction, and skips rows that another process has locked: any number of processes may prune
at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Engine, delete, exists, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from interp.domain.lifecycle import JOB_ENDS, ChunkStatus, JobStatus, Stage
from interp.planning.retry_plan import READERS
from interp.store.db.dialect import now, skip_locked
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import AuditRow, Base, ChunkRow, JobRow, JobRunRow, LlmCallRow, LlmReplyRow, RunRow, WebhookRow, WorkerRow
from interp.store.queue import jobs
from interp.store.queue.chunks import changed_rows

BATCH = 1000


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """A rule for rows to delete: those `is_old(moment)`, unless `needed` returns their key."""

    table: type[Base]
    key: InstrumentedAttribute[Any]
    is_old: Callable[[datetime], ColumnElement[bool]]
    needed: Callable[[Session, Sequence[Any]], set[Any]] = lambda _session, _keys: set()


def _over_before(moment: datetime) -> ColumnElement[bool]:
    return JobRow.status.in_(JOB_ENDS) & (JobRow.finished_at < moment)


def _read_by_live_jobs(session: Session, keys: Sequence[Any]) -> set[Any]:
    """Return replies that open jobs may read again, in batches that bound the query."""
    live = select(LlmCallRow.key).join(JobRow, JobRow.id == LlmCallRow.job_id).where(LlmCallRow.key.in_(keys), JobRow.status.not_in(JOB_ENDS))
    return set(session.scalars(live.distinct()))


RULES = {
    "calls": RetentionRule(LlmCallRow, LlmCallRow.id, lambda moment: LlmCallRow.job_id.in_(select(JobRow.id).where(_over_before(moment)))),
    "replies": RetentionRule(LlmReplyRow, LlmReplyRow.key, lambda moment: LlmReplyRow.created_at < moment, _read_by_live_jobs),
    "audit": RetentionRule(AuditRow, AuditRow.id, lambda moment: AuditRow.at < moment),
    "webhooks": RetentionRule(WebhookRow, WebhookRow.id, lambda moment: WebhookRow.next_attempt_at.is_(None) & (WebhookRow.created_at < moment)),
}


def prune(engine: Engine, rule: RetentionRule, days: float, dry_run: bool = False) -> int:
    """Delete (or with `dry_run` count) rows that a rule finds older than `days`."""
    last, count = None, 0
    while True:
        with snapshot(engine) if dry_run else transaction(engine) as session:
            old = select(rule.key).where(rule.is_old(now(session) - timedelta(days=days))).order_by(rule.key).limit(BATCH)
            beyond = old if last is None else old.where(rule.key > last)
            keys = session.scalars(beyond if dry_run else skip_locked(beyond, of=rule.table)).all()
            going = sorted(set(keys) - rule.needed(session, keys))
            if going and not dry_run:
                session.execute(delete(rule.table).where(rule.key.in_(going)).execution_options(synchronize_session=False))
        count += len(going)
        if len(keys) < BATCH:
            return count
        last = keys[-1]


def prune_chunks(engine: Engine, days: float, dry_run: bool = False) -> int:
    """Delete (or with `dry_run` count) the chunks of jobs ended `days` ago.

    A job's chunks are deleted together, since a job with only some of them must never be tried again.
    """
    with snapshot(engine) as session:
        has_chunks = exists().where(ChunkRow.job_id == JobRow.id)
        moment = now(session) - timedelta(days=days)
        old = session.scalars(select(JobRow.id).where(_over_before(moment), has_chunks).order_by(JobRow.finished_at)).all()
        if dry_run:
            return session.scalar(select(func.count()).select_from(ChunkRow).where(ChunkRow.job_id.in_(old))) or 0
    return sum(_delete_chunks(engine, job_id) for job_id in old)


def delete_silent_workers(session: Session, seconds: float) -> int:
    """Delete worker processes silent for `seconds`; return how many."""
    silent = delete(WorkerRow).where(WorkerRow.seen_at < now(session) - timedelta(seconds=seconds))
    return changed_rows(session.execute(silent.execution_options(synchronize_session=False)))


def needs_partials(session: Session, job_id: str) -> bool:
    """Return whether a chunk, now or after a retry, may read the job's partial evidence."""
    unread = exists().where(ChunkRow.job_id == JobRow.id, ChunkRow.stage.in_(READERS), ChunkRow.status != ChunkStatus.DONE)
    return bool(session.scalar(select(exists().where(JobRow.id == job_id, JobRow.status != JobStatus.CANCELLED, unread))))


def corpora_in_use(session: Session) -> set[str] | None:
    """Return digests of open jobs' tokenised corpora; None while a job is in preparation."""
    if session.scalar(select(exists().where(ChunkRow.stage == Stage.PREPARE, ChunkRow.status == ChunkStatus.LEASED))):
        return None
    of_job = select(RunRow.corpus).join(JobRunRow, JobRunRow.run_id == RunRow.id).join(JobRow, JobRow.id == JobRunRow.job_id)
    read = of_job.where(JobRow.status.not_in(JOB_ENDS))
    return {corpus["tokens_digest"] for corpus in session.scalars(read)}


def _delete_chunks(engine: Engine, job_id: str) -> int:
    with transaction(engine) as session:
        # It may have been retried since the listing.
        if jobs.hold(session, job_id).status not in JOB_ENDS:
            return 0
        return changed_rows(session.execute(delete(ChunkRow).where(ChunkRow.job_id == job_id).execution_options(synchronize_session=False)))
