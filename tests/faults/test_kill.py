"""SIGKILL at any point loses nothing, repeats the chunk that was being worked on, and changes no result."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from interp.config.settings import Settings
from interp.domain.lifecycle import Queue, Stage
from interp.domain.spec import JobSpec
from interp.files.artifact_store import PARTIALS
from interp.planning import preflight
from interp.store.db.engine import make_engine, transaction
from interp.store.queue import jobs
from tests import databases
from tests.faults.results import repeated, results
from tests.faults.service import Service, all_gone, serve
from tests.faults.waiting import until
from workers.artifact_paths import store_of
from workers.runtime import Runtime
from workers.worker import drain

pytestmark = pytest.mark.timeout(400)
STAGES = (Stage.CHECK, Stage.PREPARE, Stage.COLLECT, Stage.MERGE, Stage.EXPLAIN, Stage.SCORE)


def submit(service: Service | Runtime, spec: JobSpec) -> str:
    with transaction(service.engine) as session:
        return jobs.submit(session, spec, preflight.check(spec)).id


@pytest.fixture(scope="module")
def undisturbed(tiny_job: JobSpec, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[dict[str, Any]]]]:
    """What the job gives in one process with other chunk sizes, and no service at all."""
    settings = Settings(home=tmp_path_factory.mktemp("undisturbed"), merge_chunk_features=20, explain_chunk_features=13)
    databases.upgrade(settings.database_url)
    runtime = Runtime(settings, make_engine(settings.database_url))
    submit(runtime, tiny_job)
    drain(runtime, Queue.GPU, Queue.LLM)
    found = results(runtime.engine)
    assert all(found.values()), "every table has rows"
    yield found
    runtime.engine.dispose()


@pytest.fixture
def small_chunks(tmp_path: Path) -> Settings:
    """Chunks so small that every stage has several; leases so long that none ends by itself during a test."""
    return Settings(home=tmp_path, merge_chunk_features=8, explain_chunk_features=8, llm_workers=2, lease_seconds=300, sweep_interval_seconds=0.5)


def test_workers_killed_in_every_stage(tiny_job: JobSpec, small_chunks: Settings, undisturbed: dict[str, list[dict[str, Any]]]) -> None:
    with serve(small_chunks) as service:
        with transaction(service.engine) as session:
            job_id = jobs.submit(session, tiny_job).id
        killed = [service.kill_worker_in(job_id, stage) for stage in STAGES]
        service.completed(job_id)
        assert repeated(service.engine, job_id) == dict.fromkeys(killed, 1)
        assert results(service.engine) == undisturbed
        assert not store_of(small_chunks).names(PARTIALS), "partial evidence is cleared away"


def test_the_whole_service_killed_and_started_again(tiny_job: JobSpec, small_chunks: Settings, undisturbed: dict[str, list[dict[str, Any]]]) -> None:
    with serve(small_chunks) as service:
        job_id = submit(service, tiny_job)
        service.kill_all_in(job_id, Stage.COLLECT)
    with serve(small_chunks) as service:
        until(lambda: service.worker_of(job_id, Stage.EXPLAIN), "a worker in explain", every=0.005)
        owners = service.owners()
        os.kill(service.process.pid, signal.SIGKILL)  # the parent alone: its workers must not outlive it
        service.process.wait()
        until(lambda: all_gone(owners), "the end of the workers")
    with serve(small_chunks) as service:
        service.completed(job_id)
        # At the first kill the gpu worker alone has work; at the second it may still merge while both llm workers explain.
        assert sum(repeated(service.engine, job_id).values()) <= 1 + 3, "the chunks in work at each kill, and no more"
        assert results(service.engine) == undisturbed
