"""Workers that share no disk: a bucket stands between them, and nobody can tell from the book."""

from pathlib import Path

import pytest
from sqlalchemy import select

from interp.config.settings import Settings
from interp.domain.lifecycle import Queue, Stage
from interp.domain.spec import JobSpec
from interp.files.artifact_store import CORPORA, PARTIALS
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import ChunkRow, StageCountRow
from interp.store.queue import jobs
from tests import databases
from tests.artifacts.bucket import Bucket
from tests.faults.results import Rows, results
from tests.store import steps
from workers import artifact_paths
from workers.maintenance import cleanup
from workers.runtime import Runtime
from workers.tasks import collect
from workers.worker import drain, run_chunk

pytestmark = pytest.mark.timeout(300)


def complete(runtimes: list[Runtime], spec: JobSpec) -> str:
    """Workers take chunks in turn."""
    engine = runtimes[0].engine
    with transaction(engine) as session:
        job_id = jobs.submit(session, spec, steps.Checked(32)).id
    worked = True
    while worked:
        taken = [run_chunk(runtime, queue) for queue in (Queue.GPU, Queue.LLM) for runtime in runtimes]
        worked = any(taken)
    found = steps.look(engine, job_id)
    assert found.status == "completed", found.error
    return job_id


@pytest.fixture(scope="module")
def spec(tiny_job: JobSpec) -> JobSpec:
    """Many shards, and nothing scored: what is tried here is how evidence comes together."""
    collection = tiny_job.collection.model_copy(update={"shard_tokens": 1024})
    return tiny_job.model_copy(update={"collection": collection, "corpus": tiny_job.corpus.model_copy(update={"max_tokens": 12_000}), "scorers": ()})


@pytest.fixture(scope="module")
def on_one_disk(spec: JobSpec, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    settings = Settings(home=tmp_path_factory.mktemp("reference"))
    databases.upgrade(settings.database_url)
    runtime = Runtime.of(settings)
    complete([runtime], spec)
    return results(runtime.engine)


def test_two_machines_and_a_bucket_make_the_same_book(spec: JobSpec, bucket: Bucket, tmp_path: Path, on_one_disk: Rows) -> None:
    database = f"sqlite:///{tmp_path / 'shared.db'}"
    shared = Settings(database_url=database, artifacts_url=bucket.url, artifact_options=bucket.options, merge_fan_in=3)
    databases.upgrade(database)
    runtimes = [Runtime.of(shared.model_copy(update={"home": tmp_path / machine})) for machine in ("one", "other")]
    complete(runtimes, spec)
    assert results(runtimes[0].engine) == on_one_disk
    for runtime in runtimes:
        (corpus,) = (runtime.settings.home / "cache" / "corpora").iterdir()
        assert (corpus / "tokens.u32").stat().st_size > 0, "each machine fetched the corpus, or made it"
        assert not list((runtime.settings.home / "cache" / "drafts").iterdir())
        assert not (runtime.settings.home / "artifacts").exists()
    store = artifact_paths.store_of(shared)
    assert store.names(PARTIALS) == [], "parts are removed when they are merged"
    (digest,) = store.names(CORPORA)
    used = store.touched(artifact_paths.used(digest))
    assert digest == corpus.name
    assert used is not None


def test_a_corpus_that_was_cleared_away_is_made_again_by_the_next_job(spec: JobSpec, bucket: Bucket, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, artifacts_url=bucket.url, artifact_options=bucket.options)
    databases.upgrade(settings.database_url)
    runtime, store = Runtime.of(settings), artifact_paths.store_of(settings)
    complete([runtime], spec.model_copy(update={"features": "0-7"}))
    (digest,) = store.names(CORPORA)
    store.delete(artifact_paths.corpus(digest))
    complete([runtime], spec)
    assert store.names(CORPORA) == [digest]


def collected(runtime: Runtime, job_id: str) -> int:
    """How many collect chunks of a job have come to an end, each time counted."""
    with snapshot(runtime.engine) as session:
        return session.scalars(select(StageCountRow.done).where(StageCountRow.job_id == job_id, StageCountRow.stage == Stage.COLLECT)).one()


def retry(runtime: Runtime, job_id: str) -> None:
    with transaction(runtime.engine) as session:
        jobs.retry(session, job_id)
    drain(runtime, Queue.GPU, Queue.LLM)


def test_a_merge_that_failed_is_tried_again_with_the_parts_that_lie_there(
    spec: JobSpec, bucket: Bucket, tmp_path: Path, on_one_disk: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=tmp_path, artifacts_url=bucket.url, artifact_options=bucket.options, max_attempts=1, merge_fan_in=3)
    databases.upgrade(settings.database_url)
    runtime = Runtime.of(settings)
    with transaction(runtime.engine) as session:
        job_id = jobs.submit(session, spec, steps.Checked(32)).id
    with monkeypatch.context() as patched:
        patched.setattr(collect, "finish", lambda *_: 1 / 0)
        drain(runtime, Queue.GPU, Queue.LLM)
    found, once = steps.look(runtime.engine, job_id), collected(runtime, job_id)
    assert (found.status, found.request_counts.failed) == ("completed", 32)
    cleanup.clear_partials(runtime.engine, settings)
    retry(runtime, job_id)
    assert steps.look(runtime.engine, job_id).status == "completed"
    assert collected(runtime, job_id) == once, "nothing was collected again"
    assert results(runtime.engine) == on_one_disk


def test_a_part_that_is_gone_fails_its_chunk_with_the_reason_and_a_retry_collects_it_again(
    spec: JobSpec, bucket: Bucket, tmp_path: Path, on_one_disk: Rows
) -> None:
    settings = Settings(home=tmp_path, artifacts_url=bucket.url, artifact_options=bucket.options, max_attempts=2)
    databases.upgrade(settings.database_url)
    runtime, store = Runtime.of(settings), artifact_paths.store_of(settings)
    with transaction(runtime.engine) as session:
        job_id = jobs.submit(session, spec, steps.Checked(32)).id
    while steps.statuses(runtime.engine, job_id).get("merge:0") != "ready":
        assert run_chunk(runtime, Queue.GPU)
    store.delete(artifact_paths.partials(job_id))
    drain(runtime, Queue.GPU, Queue.LLM)
    with snapshot(runtime.engine) as session:
        chunk = session.scalars(select(ChunkRow).where(ChunkRow.job_id == job_id, ChunkRow.stage == Stage.MERGE)).one()
        assert chunk.status == "failed"
        assert chunk.error is not None
        assert (chunk.error["code"], chunk.error["attempt"]) == ("artifact-missing", 2)
    once = collected(runtime, job_id)
    retry(runtime, job_id)
    assert steps.look(runtime.engine, job_id).status == "completed"
    assert collected(runtime, job_id) == 2 * once
    assert results(runtime.engine) == on_one_disk
