"""The supervisor with real worker processes: cancelling, restarting, and a stop that hands everything back."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import Engine, select

from interp.config.settings import Settings
from interp.domain.lifecycle import ChunkStatus, Queue, Stage
from interp.domain.spec import JobSpec
from interp.files.artifact_store import PARTIALS
from interp.planning import preflight
from interp.store.db.engine import make_engine, snapshot, transaction
from interp.store.db.tables import ChunkRow
from interp.store.queue import chunks, jobs
from tests import databases
from tests.store import steps
from workers.artifact_paths import store_of
from workers.supervisor import Supervisor
from workers.wakeup import TASK, make_app, notify

pytestmark = pytest.mark.timeout(300)
Found = TypeVar("Found")


def until(condition: Callable[[], Found | None], what: str, seconds: float = 120.0) -> Found:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.02)
    return found


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    made = Settings(
        home=tmp_path_factory.mktemp("embedded"), llm_workers=1, sweep_interval_seconds=0.5, merge_chunk_features=8, explain_chunk_features=8
    )
    databases.upgrade(made.database_url)
    return made


@pytest.fixture(scope="module")
def engine(settings: Settings) -> Iterator[Engine]:
    made = make_engine(settings.database_url)
    yield made
    made.dispose()


@pytest.fixture(scope="module")
def supervisor(settings: Settings) -> Iterator[Supervisor]:
    with (settings.home / "workers.log").open("ab") as log:
        made = Supervisor(settings, log)
        made.start()
        yield made
        if made.pids():
            made.stop()


def submit(engine: Engine, settings: Settings, spec: JobSpec) -> str:
    with transaction(engine) as session:
        job_id = jobs.submit(session, spec, preflight.check(spec)).id
    notify(engine, settings)
    return job_id


def leased(engine: Engine, job_id: str, stage: Stage) -> list[ChunkRow]:
    with snapshot(engine) as session:
        return list(
            session.scalars(select(ChunkRow).where(ChunkRow.job_id == job_id, ChunkRow.stage == stage, ChunkRow.status == ChunkStatus.LEASED))
        )


def test_a_running_job_is_cancelled_and_the_worker_lives_on(supervisor: Supervisor, engine: Engine, settings: Settings, tiny_job: JobSpec) -> None:
    job_id = submit(engine, settings, tiny_job)
    until(lambda: leased(engine, job_id, Stage.COLLECT), "collection")
    before = supervisor.pids()
    with transaction(engine) as session:
        jobs.cancel(session, job_id)
    until(lambda: steps.look(engine, job_id).status == "cancelled", "the end of the job", seconds=20)
    assert set(steps.statuses(engine, job_id).values()) <= {"done", "cancelled"}
    assert supervisor.pids() == before
    until(lambda: not store_of(settings).names(PARTIALS), "the sweeper to clear partial evidence away", seconds=20)


def test_a_dead_worker_is_started_again(supervisor: Supervisor) -> None:
    before = supervisor.pids()["llm-0"]
    os.kill(before, signal.SIGKILL)
    after = until(lambda: supervisor.pids().get("llm-0", before) - before and supervisor.pids()["llm-0"], "the new worker")
    assert after != before


def test_messages_that_say_nothing_true_change_nothing(supervisor: Supervisor, engine: Engine, settings: Settings, tiny_job: JobSpec) -> None:
    app = make_app(settings)
    for queue in (Queue.GPU, Queue.LLM):
        for name in ("no such chunk", "no such chunk", ""):
            app.send_task(TASK, args=[name], queue=queue.value)
    job_id = submit(engine, settings, tiny_job)
    for chunk in leased(engine, job_id, Stage.PREPARE):
        app.send_task(TASK, args=[chunk.id], queue=Queue.GPU.value)
    until(lambda: steps.look(engine, job_id).status == "completed", "the end of the job")
    with snapshot(engine) as session:
        assert set(session.scalars(select(ChunkRow.attempts).where(ChunkRow.job_id == job_id))) == {1}


def test_lost_messages_are_sent_again(tmp_path: Path) -> None:
    """In a book of its own: workers of another would find the chunk by themselves."""
    patient = Settings(home=tmp_path, notify_again_seconds=3600)
    deaf = patient.model_copy(update={"notify_again_seconds": 0.2})
    databases.upgrade(deaf.database_url)
    engine = make_engine(deaf.database_url)
    steps.submit(engine)
    assert notify(engine, patient) == 1
    assert notify(engine, patient) == 0
    for message in deaf.broker_folder.glob("*.msg"):
        message.unlink()
    assert until(lambda: notify(engine, deaf), "the notification", seconds=5) == 1
    assert len(list(deaf.broker_folder.glob("*.gpu.msg"))) == 1
    engine.dispose()


def test_stopping_hands_back_what_is_in_work(supervisor: Supervisor, engine: Engine, settings: Settings, tiny_job: JobSpec) -> None:
    """The last of the supervisor's tests: it is stopped."""
    other = tiny_job.model_copy(update={"collection": tiny_job.collection.model_copy(update={"row_tokens": 32})})
    job_id = submit(engine, settings, other)
    until(lambda: leased(engine, job_id, Stage.COLLECT), "collection")
    pids = supervisor.pids()
    supervisor.stop()
    assert supervisor.pids() == {}
    with snapshot(engine) as session:
        found = list(session.scalars(select(ChunkRow).where(ChunkRow.job_id == job_id)))
    assert all(chunk.attempts == (1 if chunk.status == ChunkStatus.DONE else 0) for chunk in found), "nothing is held, and stopping is no attempt"
    assert any(chunk.status == ChunkStatus.READY for chunk in found)
    assert all(not Path(f"/proc/{pid}").exists() for pid in pids.values())


def test_upkeep_as_a_process_takes_back_what_a_dead_worker_held(tiny_job: JobSpec, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, sweep_interval_seconds=0.2)
    databases.upgrade(settings.database_url)
    engine = make_engine(settings.database_url)
    with transaction(engine) as session:
        job_id = jobs.submit(session, tiny_job, preflight.check(tiny_job)).id
    with transaction(engine) as session:
        assert chunks.claim(session, Queue.GPU, owner=dead_owner(), seconds=600)
    command = [sys.executable, "-m", "workers.process", "upkeep"]
    with subprocess.Popen(command, env=os.environ | settings.environment()) as process:
        until(lambda: steps.statuses(engine, job_id)["prepare:0"] == "ready", "the sweep")
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
    engine.dispose()


def dead_owner() -> str:
    """The name of a process that has just ended."""
    found = subprocess.run([sys.executable, "-c", "from workers.machine import this_process; print(this_process())"], capture_output=True, text=True)
    return found.stdout.strip()


def test_a_worker_that_answers_no_signal_is_killed_in_time(tmp_path: Path) -> None:
    """A suspended process: SIGTERM waits for it to go on."""
    alone = Settings(home=tmp_path, llm_workers=1, stop_timeout_seconds=6)
    databases.upgrade(alone.database_url)
    with (tmp_path / "workers.log").open("ab") as log:
        made = Supervisor(alone, log)
        made.start()
        pids = list(made.pids().values())
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        made.stop()
        assert time.monotonic() - began < alone.stop_timeout_seconds
    assert len(pids) == 2
    assert all(not Path(f"/proc/{pid}").exists() for pid in pids)
