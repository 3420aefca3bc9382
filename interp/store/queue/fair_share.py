"""Order jobs: those of one priority take turns, however many chunks each has."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from interp.domain.lifecycle import WORKABLE, ChunkStatus, Queue
from interp.store.db.bulk import upsert
from interp.store.db.dialect import skip_locked
from interp.store.db.tables import ChunkRow, FairShareRow, JobRow


@dataclass(frozen=True, slots=True)
class ReadyJob:
    """A job with a ready chunk; `last_claimed_at` is when its last chunk was claimed."""

    job_id: str
    priority: int
    models_key: str | None
    created_at: datetime
    last_claimed_at: datetime | None

    @property
    def waits_since(self) -> datetime:
        return self.last_claimed_at or self.created_at


def candidates(session: Session, queue: Queue, *ready: ColumnElement[bool]) -> list[ReadyJob]:
    """Return runnable jobs with a ready chunk of the queue, in O(open jobs)."""
    first = (
        # A number, and not EXISTS: a planner that expects many ready chunks would look for one by reading the table.
        select(ChunkRow.number)
        .where(ChunkRow.job_id == JobRow.id, ChunkRow.queue == queue, ChunkRow.status == ChunkStatus.READY, *ready)
        .order_by(ChunkRow.number)
        .limit(1)
        .correlate(JobRow)
        .scalar_subquery()
    )
    statement = (
        select(JobRow.id, JobRow.priority, JobRow.models_key, JobRow.created_at, FairShareRow.last_claimed_at)
        .join(FairShareRow, FairShareRow.job_id == JobRow.id)
        .where(FairShareRow.queue == queue, JobRow.status.in_(WORKABLE), first.is_not(None))
    )
    return [ReadyJob(*row) for row in session.execute(statement)]


def in_order(waiting: Collection[ReadyJob], loaded_models: Collection[str], moment: datetime, affinity_seconds: float) -> list[ReadyJob]:
    """Return jobs by priority, then those never served by age, then those served longest ago.

    Within a priority, jobs whose models are `loaded_models` come first as long as none of the others has waited longer than `affinity_seconds`.
    """
    late = moment - timedelta(seconds=affinity_seconds)
    overdue = {job.priority for job in waiting if job.models_key not in loaded_models and job.waits_since < late}

    def place(job: ReadyJob) -> tuple[int, bool, bool, datetime, datetime, str]:
        waits_for_others = job.models_key not in loaded_models and job.priority not in overdue
        return (-job.priority, waits_for_others, job.last_claimed_at is not None, job.waits_since, job.created_at, job.job_id)

    return sorted(waiting, key=place)


def add_queues(session: Session, job_id: str, queues: Collection[Queue]) -> None:
    """Write that the job has chunks of these queues from now on."""
    rows = [{"job_id": job_id, "queue": queue, "last_claimed_at": None} for queue in sorted(queues)]
    upsert(session, FairShareRow, rows, ["job_id", "queue"], update=[])


def mark_claimed(session: Session, job_id: str, queue: Queue, moment: datetime) -> None:
    """Write the time of a claim; never waits, since concurrent writers write the same."""
    own = (FairShareRow.job_id == job_id, FairShareRow.queue == queue)
    free = skip_locked(select(FairShareRow.job_id).where(*own), of=FairShareRow).scalar_subquery()
    statement = update(FairShareRow).where(FairShareRow.queue == queue, FairShareRow.job_id == free).values(last_claimed_at=moment)
    session.execute(statement.execution_options(synchronize_session=False))
