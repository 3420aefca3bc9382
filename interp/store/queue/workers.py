"""Store worker processes, for planning, `/metrics` and `glossator doctor`."""

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
    """A worker process as written with its heartbeats.

    `memory_bytes` is what collection may use there. `loaded_models` are the `models_key` of each pair of loaded models.
    """

    queue: Queue
    name: str
    device: str | None = None
    memory_bytes: int | None = None
    loaded_models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KnownWorker:
    """A worker process and the database's time of its last heartbeat."""

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
    """Write a live worker process."""
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
    """Delete a worker process, which has ended."""
    session.execute(delete(WorkerRow).where(WorkerRow.owner == owner))


def alive(session: Session, seconds: float) -> list[KnownWorker]:
    """Return the processes that were seen within the last `seconds`, by queue and name."""
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
    """Return the least stated memory in bytes of the queue's live workers."""
    since = now(session) - timedelta(seconds=seconds)
    return session.scalar(select(func.min(WorkerRow.memory_bytes)).where(WorkerRow.queue == queue, WorkerRow.seen_at >= since))
