"""Upkeep as a process's threads: a database that is away, duties that fail or hang, what is cleared away, and two processes at once."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from api.demo.local_servers import LocalServer
from interp.config.settings import Settings
from interp.domain.lifecycle import Queue, Stage
from interp.domain.spec import WebhookSpec
from interp.files.artifact_store import CORPORA, PARTIALS
from interp.planning.plan import ChunkPlan
from interp.store.db.engine import make_engine, snapshot, transaction
from interp.store.db.tables import WebhookRow
from interp.store.queue import jobs, webhooks
from tests import databases
from tests.store import steps
from tests.workers.receiver import Receiver, receiver
from workers import artifact_paths
from workers.maintenance import cleanup, scheduler
from workers.maintenance.scheduler import MaintenanceThreads, PeriodicThread

QUICK = {"sweep_interval_seconds": 0.1, "stop_timeout_seconds": 5.0, "webhook_allow_private_networks": True}


def until(condition: Callable[[], object], what: str, seconds: float = 150.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.02)


@pytest.fixture
def quick(settings: Settings) -> Settings:
    return settings.model_copy(update=QUICK)


@pytest.fixture
def to() -> Iterator[Receiver]:
    with receiver() as found:
        yield found


def expired(engine: Engine, to: Receiver | None = None) -> str:
    """A job whose worker has fallen silent."""
    spec = steps.SPEC if to is None else steps.SPEC.model_copy(update={"webhook": WebhookSpec(url=to.url)})
    job_id = steps.running(engine, ChunkPlan(Stage.EXPLAIN, 0, 4), spec=spec)
    steps.take(engine, Queue.LLM, seconds=-1)
    return job_id


def is_taken_back(engine: Engine, job_id: str) -> bool:
    return steps.statuses(engine, job_id)["explain:0"] == "ready"


def test_leases_are_taken_back_and_webhooks_delivered_in_one_process(engine: Engine, quick: Settings, to: Receiver) -> None:
    job_id = expired(engine, to)
    with transaction(engine) as session:
        jobs.pause(session, job_id)
    sweeper = MaintenanceThreads(engine, quick)
    sweeper.start()
    try:
        until(lambda: is_taken_back(engine, job_id), "the lease")
        until(lambda: to.sent, "the webhook")
        assert [sent.json["type"] for sent in to.sent] == ["job.paused"]
    finally:
        sweeper.stop()


def test_a_receiver_that_does_not_answer_keeps_no_lease_from_being_taken_back(engine: Engine, quick: Settings, to: Receiver) -> None:
    to.holding.set()
    waiting = expired(engine, to)
    with transaction(engine) as session:
        jobs.pause(session, waiting)
    sweeper = MaintenanceThreads(engine, quick.model_copy(update={"webhook_timeout_seconds": 20.0, "stop_timeout_seconds": 0.2}))
    sweeper.start()
    try:
        until(lambda: to.sent, "the receiver to be asked")
        job_id = expired(engine)
        until(lambda: is_taken_back(engine, job_id), "the lease", seconds=15)
    finally:
        sweeper.stop()
        to.holding.clear()


def test_upkeep_outlives_a_database_that_is_away(private_postgres: LocalServer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings(home=tmp_path, database_url=private_postgres.url).model_copy(update=QUICK)
    databases.upgrade(settings.database_url)
    engine = make_engine(settings.database_url)
    sweeper = MaintenanceThreads(engine, settings)
    sweeper.start()
    try:
        private_postgres.stop(signal.SIGINT)
        until(lambda: "sweeper failed" in caplog.text, "the first failure")
        private_postgres.start()
        job_id = expired(engine)
        until(lambda: is_taken_back(engine, job_id), "the lease")
    finally:
        sweeper.stop()
        engine.dispose()


def test_no_error_of_a_task_ends_its_thread(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[int] = []

    def stumbling() -> None:
        calls.append(len(calls))
        if len(calls) < 4:
            raise ZeroDivisionError("nobody thought of this")

    caplog.set_level("INFO")
    made = PeriodicThread("stumbling", stumbling, 0.01)
    made.start()
    until(lambda: len(calls) > 6, "more rounds")
    made.ask_to_stop()
    made.join(60.0)
    assert caplog.text.count("stumbling failed") == 1
    assert caplog.text.count("goes well again") == 1
    assert "Traceback" in caplog.text, "an error that nobody foresaw is told of whole"


def test_stopping_waits_for_no_task_longer_than_allowed(engine: Engine, quick: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, hanging = threading.Event(), threading.Event()

    def hang(_engine: Engine, _settings: Settings) -> None:
        begun.set()
        hanging.wait(60)

    monkeypatch.setattr(scheduler, "deliver_due", hang)
    sweeper = MaintenanceThreads(engine, quick.model_copy(update={"stop_timeout_seconds": 0.3}))
    sweeper.start()
    assert begun.wait(60)
    before = time.monotonic()
    sweeper.stop()
    hanging.set()
    assert time.monotonic() - before < 5


def test_partial_evidence_goes_once_nobody_will_merge_it(engine: Engine, quick: Settings) -> None:
    store = artifact_paths.store_of(quick)
    plans = (ChunkPlan(Stage.COLLECT, 0, 4), ChunkPlan(Stage.MERGE, 0, 4, {}, Stage.COLLECT))
    cancelled, alive = (steps.running(engine, *plans) for _ in range(2))
    for job_id in (cancelled, alive, "nobody"):
        store.put(artifact_paths.partial(job_id, Stage.COLLECT, 0), lambda path: path.write_bytes(b"partial"))
    with transaction(engine) as session:
        jobs.cancel(session, cancelled)
    assert cleanup.clear_partials(engine, quick) == 2
    assert store.names(PARTIALS) == [alive]


def test_the_draft_of_a_worker_that_was_killed_goes_while_its_job_goes_on(engine: Engine, quick: Settings) -> None:
    store = artifact_paths.store_of(quick)
    job_id = steps.running(engine, ChunkPlan(Stage.COLLECT, 0, 4), ChunkPlan(Stage.MERGE, 0, 4, {}, Stage.COLLECT))
    name = artifact_paths.partial(job_id, Stage.COLLECT, 0)
    store.put(name, lambda path: path.write_bytes(b"partial"))
    whole = Path(store.root) / name
    draft = whole.with_name(f".{whole.name}.1.0123abcd")
    draft.write_bytes(b"par")
    old = (datetime.now(UTC) - timedelta(hours=9)).timestamp()
    for path in (draft, whole):
        os.utime(path, (old, old))
    cleanup.clean_up(engine, quick)
    assert list(whole.parent.iterdir()) == [whole]


def test_corpora_go_when_no_job_has_read_them_for_long_and_none_that_is_alive_will(engine: Engine, quick: Settings) -> None:
    store = artifact_paths.store_of(quick)
    for digest in ("fresh", "stale"):
        store.put_folder(f"corpora/{digest}", lambda folder: (folder / "tokens").write_bytes(b"1"))
        store.touch(artifact_paths.used(digest))
    used = Path(store.root) / artifact_paths.used("stale")
    old = (datetime.now(UTC) - timedelta(days=9)).timestamp()
    os.utime(used, (old, old))
    week = quick.model_copy(update={"retain_corpora_days": 7.0})
    assert cleanup.prune(engine, week, dry_run=True)["corpora"] == 1
    steps.submit(engine)
    lease = steps.take(engine, Queue.GPU)
    assert cleanup.prune(engine, week)["corpora"] == 0, "a job that is being prepared may be about to read it"
    steps.finish(engine, lease)
    assert cleanup.prune(engine, week)["corpora"] == 1
    assert store.names(CORPORA) == ["fresh"]


def test_what_is_kept_for_ever_is_not_even_looked_at(engine: Engine, settings: Settings) -> None:
    for_ever = {f"retain_{name}_days": None for name in ("calls", "replies", "chunks", "corpora", "webhooks", "audit", "exports", "uploads", "parts")}
    assert cleanup.prune(engine, settings.model_copy(update=for_ever)) == {}
    assert set(cleanup.prune(engine, settings)) == {"chunks", "webhooks", "audit", "exports", "uploads"}, "the defaults"


def test_two_upkeep_processes_do_each_thing_once(database_url: str, engine: Engine, quick: Settings, to: Receiver) -> None:
    found = [expired(engine, to) for _ in range(12)]
    environment = os.environ | quick.environment()
    command = [sys.executable, "-m", "workers.process", Queue.UPKEEP.value]
    processes = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        until(lambda: len(steps.workers_seen(engine, 30.0)) == len(processes), "both processes", seconds=60)
        until(lambda: all(is_taken_back(engine, job_id) for job_id in found), "the leases", seconds=60)
        with transaction(engine) as session:
            for job_id in found:
                jobs.cancel(session, job_id)
        until(lambda: all(row.delivered_at for job_id in found for row in told(engine, job_id)), "the webhooks")
    finally:
        for process in processes:
            process.terminate()
        said = [process.communicate(timeout=30)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert sorted(sent.json["data"]["id"] for sent in to.sent) == sorted(found)
    assert not any("Traceback" in text for text in said), said


def told(engine: Engine, job_id: str) -> list[WebhookRow]:
    with snapshot(engine) as session:
        return list(webhooks.of_job(session, job_id))
