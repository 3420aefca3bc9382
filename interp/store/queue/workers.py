"""Store worker processes, for planning (`metrics` counts them)."""

from dataclasses import asdict, dataclass
from datetime import timedelta
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


def seen(session: Session, owner: str, info: WorkerInfo) -> None:
    """Write a live worker process."""
    moment = now(session)
    row = asdict(info) | {"owner": owner, "version": version("glossator"), "started_at": moment, "seen_at": moment}
    upsert(session, WorkerRow, [row], keys=["owner"], update=[*asdict(info), "seen_at"])


def gone(session: Session, owner: str) -> None:
    """Delete a worker process, which has ended."""
    session.execute(delete(WorkerRow).where(WorkerRow.owner == owner))


def memory_of(session: Session, queue: Queue, seconds: float) -> int | None:
    """Return the least stated memory in bytes of the queue's live workers."""
    since = now(session) - timedelta(seconds=seconds)
    return session.scalar(select(func.min(WorkerRow.memory_bytes)).where(WorkerRow.queue == queue, WorkerRow.seen_at >= since))
