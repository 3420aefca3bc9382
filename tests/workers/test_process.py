"""Real worker processes: they stop work within a batch, find work without a broker, outlive their database, and end within a stated time."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine

from api.demo.local_servers import LocalServer
from interp.config.settings import Settings
from interp.domain.lifecycle import Queue, Stage
from interp.planning.plan import ChunkPlan
from interp.store import migrate
from interp.store.db.engine import make_engine, snapshot, transaction
from interp.store.queue import chunks, jobs
from tests.store import steps
from workers.wakeup import notify

pytestmark = pytest.mark.timeout(180)

# A worker whose task is a stand-in: it works in batches of so many seconds, and is deaf to everything where it is told to be.
WORKER = """
import sys, time, workers.worker
from interp.domain.lifecycle import Queue
from workers.process import main
from workers.runtime import TaskResult

queue, batches, seconds, is_deaf = Queue(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4] == "deaf"

def task(work):
    for number in range(batches):
        time.sleep(seconds)
        if not is_deaf:
            work.progress(0)
    return TaskResult(lambda session: None)

workers.worker._task = lambda stage: task
# A busy machine may take long to make the next chunk.
workers.worker.CELERY_PAUSE_SECONDS = 30.0
main(queue, "stand-in")
"""
BATCH = 0.05
STAGE = {Queue.GPU: Stage.COLLECT, Queue.LLM: Stage.EXPLAIN}


def until(condition: Callable[[], bool], what: str, seconds: float = 120.0) -> float:
    """Waits for the condition; returns how many seconds that took."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.01)
    return time.monotonic() - begun


@contextmanager
def worker(settings: Settings, queue: Queue, batches: int, seconds: float = BATCH, hearing: str = "") -> Iterator[subprocess.Popen[bytes]]:
    log = settings.home / "worker.log"
    settings.home.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", WORKER, queue.value, str(batches), str(seconds), hearing]
    with log.open("ab") as out, subprocess.Popen(command, env=os.environ | settings.environment(), stdout=out, stderr=out) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def alone(settings: Settings) -> Settings:
    """Settings of a worker without a broker: where it should be, nothing answers."""
    changes = {"broker_url": "redis://127.0.0.1:1/0", "poll_interval_seconds": 0.2, "stop_timeout_seconds": 1.0}
    return settings.model_copy(update=changes)


def status(engine: Engine, job_id: str, queue: Queue) -> str:
    return steps.statuses(engine, job_id)[f"{STAGE[queue]}:0"]


def shown(engine: Engine) -> list[str]:
    return [row.name for row in steps.workers_seen(engine, 30.0)]


@pytest.mark.parametrize(("database_url", "queue"), [("sqlite", Queue.GPU), ("postgresql", Queue.LLM)], indirect=["database_url"])
def test_pause_and_cancel_are_honoured_within_a_batch(alone: Settings, engine: Engine, queue: Queue) -> None:
    job_id = steps.running(engine, ChunkPlan(STAGE[queue], 0, 4))
    with worker(alone, queue, batches=100_000):
        until(lambda: status(engine, job_id, queue) == "leased", "the worker")
        with transaction(engine) as session:
            jobs.pause(session, job_id)
        took = until(lambda: status(engine, job_id, queue) == "ready", "the worker to let go")
        assert took < alone.lease_check_interval_seconds + BATCH + 2.0, "beside the look and the batch: what a busy machine takes"
        with transaction(engine) as session:
            jobs.resume(session, job_id)
        until(lambda: status(engine, job_id, queue) == "leased", "the worker to come back")
        with transaction(engine) as session:
            jobs.cancel(session, job_id)
        took = until(lambda: steps.look(engine, job_id).status == "cancelled", "the end")
        assert took < alone.lease_check_interval_seconds + BATCH + 2.0


@pytest.mark.parametrize(
    ("database_url", "hearing", "when"),
    [("sqlite", "deaf", "early"), ("postgresql", "deaf", "late"), ("postgresql", "", "early"), ("sqlite", "", "late")],
    indirect=["database_url"],
)
def test_a_worker_ends_within_its_time_and_holds_nothing(alone: Settings, engine: Engine, hearing: str, when: str) -> None:
    job_id = steps.running(engine, ChunkPlan(Stage.EXPLAIN, 0, 4))
    with worker(alone, Queue.LLM, 100_000, hearing=hearing) as process:
        until(lambda: status(engine, job_id, Queue.LLM) == "leased", "the worker")
        until(lambda: shown(engine) == ["stand-in"], "the worker to show itself")
        if when == "late":
            until(lambda: "Cannot connect" in (alone.home / "worker.log").read_text(), "Celery to be up and reach for its broker")
        process.send_signal(signal.SIGTERM)
        assert process.wait(alone.stop_timeout_seconds + 60) == 0
    assert steps.take(engine, Queue.LLM).attempt == 1, "the chunk was handed back, and stopping is no attempt"
    assert shown(engine) == []


def test_what_comes_right_after_a_chunk_is_found_without_a_notification(alone: Settings, engine: Engine, redis_url: str) -> None:
    """For up to a second after an answer Celery asks for no message: the worker looks by itself then, however rarely it does otherwise."""
    settings = alone.model_copy(update={"broker_url": redis_url, "poll_interval_seconds": 3600.0})
    first = steps.running(engine, ChunkPlan(Stage.EXPLAIN, 0, 4))
    with worker(settings, Queue.LLM, batches=1):
        notify(engine, settings)
        until(lambda: status(engine, first, Queue.LLM) == "done", "the chunk that was notified of")
        second = steps.running(engine, ChunkPlan(Stage.EXPLAIN, 0, 4))
        until(lambda: status(engine, second, Queue.LLM) == "done", "the chunk that nothing told of")


def test_a_worker_outlives_its_database_and_loses_no_work(private_postgres: LocalServer, tmp_path: Path) -> None:
    """PostgreSQL is away when the work is done: the results wait for it."""
    url = private_postgres.url
    migrate.upgrade(url)
    settings = Settings(home=tmp_path, database_url=url, broker_url="redis://127.0.0.1:1/0", poll_interval_seconds=0.2)
    engine = make_engine(url)
    job_id = steps.running(engine, *(ChunkPlan(Stage.EXPLAIN, number, 4) for number in range(3)))
    with worker(settings, Queue.LLM, batches=20) as process:
        until(lambda: "leased" in steps.statuses(engine, job_id).values(), "the worker")
        engine.dispose()
        private_postgres.stop()
        time.sleep(3.0)  # longer than the chunk's work: its end falls into the time without a database
        private_postgres.start()
        done = {"prepare:0": "done"} | {f"explain:{number}": "done" for number in range(3)}
        until(lambda: steps.statuses(engine, job_id) == done, "all chunks")
        assert process.poll() is None
    attempts = {steps.chunk(engine, chunk_id).attempts for chunk_id in ids(engine, job_id)}
    assert attempts == {1}, "nothing was done twice"
    engine.dispose()


def ids(engine: Engine, job_id: str) -> list[str]:
    with snapshot(engine) as session:
        return [state.id for state in chunks.states(session, job_id)]
