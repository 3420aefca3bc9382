"""Live worker processes, and the least memory among them."""

from datetime import timedelta

from sqlalchemy import Engine, update

from interp.domain.lifecycle import Queue
from interp.store.db.dialect import now
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import WorkerRow
from interp.store.queue import workers
from interp.store.queue.workers import WorkerInfo
from tests.store import steps


def tell(engine: Engine, owner: str, info: WorkerInfo) -> None:
    with transaction(engine) as session:
        workers.seen(session, owner, info)


def alive(engine: Engine) -> list[str]:
    return [row.owner for row in steps.workers_seen(engine, 30.0)]


def memory(engine: Engine, queue: Queue = Queue.GPU) -> int | None:
    with snapshot(engine) as session:
        return workers.memory_of(session, queue, 30.0)


def fall_silent(engine: Engine, owner: str) -> None:
    with transaction(engine) as session:
        session.execute(update(WorkerRow).where(WorkerRow.owner == owner).values(seen_at=now(session) - timedelta(seconds=60)))


def test_a_worker_is_there_until_it_is_gone_or_silent(engine: Engine) -> None:
    for owner in ("a", "b", "c"):
        tell(engine, owner, WorkerInfo(Queue.GPU, f"gpu-{owner}"))
    assert alive(engine) == ["a", "b", "c"]
    with transaction(engine) as session:
        workers.gone(session, "a")
    fall_silent(engine, "b")
    assert alive(engine) == ["c"]
    tell(engine, "b", WorkerInfo(Queue.GPU, "gpu-b", loaded_models=("models",)))
    found = steps.workers_seen(engine, 30.0)
    assert [(row.owner, row.loaded_models) for row in found] == [("b", ["models"]), ("c", [])]
    assert found[0].started_at <= found[0].seen_at


def test_the_least_memory_of_the_workers_that_live_is_what_planning_may_count_on(engine: Engine) -> None:
    assert memory(engine) is None
    tell(engine, "small", WorkerInfo(Queue.GPU, "gpu-0", memory_bytes=10**9))
    tell(engine, "large", WorkerInfo(Queue.GPU, "gpu-1", memory_bytes=10**11))
    tell(engine, "untold", WorkerInfo(Queue.GPU, "gpu-2"))
    tell(engine, "other", WorkerInfo(Queue.LLM, "llm-0", memory_bytes=1))
    assert memory(engine) == 10**9
    fall_silent(engine, "small")
    assert memory(engine) == 10**11
