"""Store worker processes, for planning (`metrics` counts them)."""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from importlib.metadata import version

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from interp.domain.lifecycle import Queue
from interp.store.db.bulk import upsert
from interp.store.db.dialect import now
from interp.store.db.tables import WorkerRow

MOST_SHOWN = 1000


@dataclass(slots=True)
class WorkerInfo:
    """A worker process as written with its heartbeats.

    `memory_bytes` is what collection may use there. `loaded_models` are the `models_key` of each pair of loaded models.
    """

    queue: Queue
    name: str
    device: str | None = None
    memory_bytes: int | None = None
    loaded_models: tuple[str, ...] = ()


def seen(session: Session, owner: str, info: WorkerInfo) -> None:
    """Write a live worker process."""
    moment = now(session)
    row = asdict(info) | {"owner": owner, "version": version("glossator"), "started_at": moment, "seen_at": moment}
    upsert(session, WorkerRow, [row], keys=["owner"], update=[*asdict(info), "seen_at"])


def gone(session: Session, owner: str) -> None:
    """Delete a worker process, which has ended."""
    session.execute(delete(WorkerRow).where(WorkerRow.owner == owner))


@dataclass(frozen=True, slots=True)
class LiveWorker:
    """A live worker process, and how many pairs of models it has open."""

    name: str
    queue: str
    device: str | None
    models: int
    started_at: datetime
    seen_at: datetime


def alive(session: Session, seconds: float) -> list[LiveWorker]:
    """Return the workers seen within some seconds, by queue and name."""
    statement = select(WorkerRow).where(WorkerRow.seen_at >= now(session) - timedelta(seconds=seconds)).order_by(WorkerRow.queue, WorkerRow.name)
    rows = session.scalars(statement.limit(MOST_SHOWN))
    return [LiveWorker(row.name, row.queue, row.device, len(row.loaded_models), row.started_at, row.seen_at) for row in rows]


def memory_of(session: Session, queue: Queue, seconds: float) -> int | None:
    """Return the least stated memory in bytes of the queue's live workers."""
    since = now(session) - timedelta(seconds=seconds)
    return session.scalar(select(func.min(WorkerRow.memory_bytes)).where(WorkerRow.queue == queue, WorkerRow.seen_at >= since))
