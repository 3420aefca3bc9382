"""Worker processes as they tell of themselves: written with their heartbeats, read by planning, `/metrics` and `glossator doctor`."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import version

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from interp.domain.lifecycle import Queue
from interp.store.db.bulk import upsert
from interp.store.db.dialect import now
from interp.store.db.tables import WorkerRow


@dataclass(slots=True)
class WorkerInfo:
    """Describe a worker process: written with its heartbeats. `memory_bytes` is what collection may use there.

    `loaded_models` are the `models_key` of each pair of models that it has open.
    """

    queue: Queue
    name: str
    device: str | None = None
    memory_bytes: int | None = None
    loaded_models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KnownWorker:
    """A worker process as it last told of itself. `seen_at` is the database's time."""

    owner: str
    queue: Queue
    name: str
    version: str
    device: str | None
    memory_bytes: int | None
    loaded_models: tuple[str, ...]
    started_at: datetime
    seen_at: datetime


def seen(session: Session, owner: str, info: WorkerInfo) -> None:
    """The process lives, and this is what it tells."""
    moment = now(session)
    row = {
        "owner": owner,
        "queue": info.queue,
        "name": info.name,
        "version": version("glossator"),
        "device": info.device,
        "memory_bytes": info.memory_bytes,
        "loaded_models": list(info.loaded_models),
        "started_at": moment,
        "seen_at": moment,
    }
    upsert(session, WorkerRow, [row], keys=["owner"], update=["queue", "name", "device", "memory_bytes", "loaded_models", "seen_at"])


def gone(session: Session, owner: str) -> None:
    """The process has ended."""
    session.execute(delete(WorkerRow).where(WorkerRow.owner == owner))


def alive(session: Session, seconds: float) -> list[KnownWorker]:
    """The processes that were seen within the last `seconds`, by queue and name."""
    statement = (
        select(WorkerRow)
        .where(WorkerRow.seen_at >= now(session) - timedelta(seconds=seconds))
        .order_by(WorkerRow.queue, WorkerRow.name, WorkerRow.owner)
    )
    return [
        KnownWorker(
            row.owner, Queue(row.queue), row.name, row.version, row.device, row.memory_bytes, tuple(row.loaded_models), row.started_at, row.seen_at
        )
        for row in session.scalars(statement)
    ]


def memory_of(session: Session, queue: Queue, seconds: float) -> int | None:
    """What any worker of the queue that lives may use, in bytes: the least of what they tell. None where none tells."""
    since = now(session) - timedelta(seconds=seconds)
    return session.scalar(select(func.min(WorkerRow.memory_bytes)).where(WorkerRow.queue == queue, WorkerRow.seen_at >= since))
