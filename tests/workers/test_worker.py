"""Helpers work while a chunk waits for a model, no more of them than asked for, and no longer."""

import threading
import time
from collections.abc import Callable

import pytest
from sqlalchemy import Engine, text

from interp.config.settings import Settings
from interp.domain.lifecycle import Queue
from interp.observability import logs
from interp.store.db import revision
from workers import worker as worker_module
from workers.runtime import Runtime
from workers.worker import HelperThreads, Worker


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        time.sleep(0.01)


def test_helpers_take_what_is_ready_only_while_somebody_asks() -> None:
    stopping, released = threading.Event(), threading.Event()
    at_once: list[int] = []
    now = threading.Semaphore(0)
    working = [0]
    lock = threading.Lock()

    def step() -> bool:
        with lock:
            working[0] += 1
            at_once.append(working[0])
        now.release()
        released.wait(20)
        with lock:
            working[0] -= 1
        return True

    helpers = HelperThreads(3, step, stopping)
    assert at_once == []
    with helpers.asking():
        with helpers.asking():
            for _ in range(3):
                assert now.acquire(timeout=20)
        assert max(at_once) == 3, "asking twice makes no more of them"
    released.set()
    helpers.join()
    done = len(at_once)
    assert done >= 3
    with helpers.asking():
        until(lambda: len(at_once) > done)
        stopping.set()
    helpers.join()


def test_a_worker_without_helpers_has_none() -> None:
    def step() -> bool:
        raise AssertionError("nobody may step")

    helpers = HelperThreads(0, step, threading.Event())
    with helpers.asking():
        helpers.join()


def test_a_running_worker_takes_no_work_from_tables_of_another_version(
    engine: Engine, settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tables are upgraded while it runs: it says so in one line, and goes on when they are put back."""
    logs.configure(settings, "worker")
    claims: list[str | None] = []
    monkeypatch.setattr(worker_module, "run_chunk", lambda _runtime, _queue, chunk_id, _asking: bool(claims.append(chunk_id)))
    runtime = Runtime.of(settings.model_copy(update={"poll_interval_seconds": 0.01}))
    worker = Worker(runtime, Queue.GPU)
    change_revision(engine, "9999")
    worker.start()
    try:
        worker.notified("first")
        worker.notified("second")
        assert claims == []
        change_revision(engine, revision.head())
        until(lambda: bool(claims))
    finally:
        runtime.stopping.set()
        worker.join()
    said = [line for line in capsys.readouterr().err.splitlines() if "takes no more work" in line]
    assert len(said) == 1
    assert "9999" in said[0] and "Install the version" in said[0]


def change_revision(engine: Engine, to: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :to"), {"to": to})
