"""A whole job in one process, on both dialects: what it leaves, what a second job does not do again, and what bad input leaves behind."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sqlalchemy import Engine, event, func, select

from benches import tiny
from interp.collect.memory import collection_bytes
from interp.config.settings import Settings
from interp.domain.errors import DiskFullError
from interp.domain.lifecycle import Queue, Stage
from interp.domain.spec import JobSpec, ScorerSpec
from interp.files.artifact_store import PARTIALS
from interp.files.evidence_codec import decode_evidence
from interp.planning import preflight
from interp.store.db.engine import make_engine, snapshot, transaction
from interp.store.db.tables import ChunkRow, DictionaryRow, EvidenceRow, ExplanationRow, FeatureRow, RunRow, ScoreRow, SubjectRow
from interp.store.queue import completion, jobs, workers
from interp.store.queue.progress import JobProgress
from interp.store.queue.workers import WorkerInfo
from tests import databases
from tests.faults.results import results
from tests.store import steps
from workers import artifact_paths
from workers.runtime import Runtime
from workers.tasks import collect, firing_levels, prepare
from workers.tasks.model_cache import USABLE, all_models_of
from workers.worker import drain, run_chunk

pytestmark = pytest.mark.timeout(300)


def submit(runtime: Runtime, spec: JobSpec) -> str:
    with transaction(runtime.engine) as session:
        return jobs.submit(session, spec, preflight.check(spec)).id


def complete(runtime: Runtime, spec: JobSpec) -> JobProgress:
    job_id = submit(runtime, spec)
    drain(runtime, Queue.GPU, Queue.LLM)
    return steps.look(runtime.engine, job_id)


@pytest.fixture
def runtime(settings: Settings) -> Runtime:
    return Runtime.of(settings)


@pytest.fixture(scope="module")
def on_sqlite(tiny_job: JobSpec, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """What the job gives on SQLite."""
    settings = Settings(home=tmp_path_factory.mktemp("reference"))
    databases.upgrade(settings.database_url)
    runtime = Runtime.of(settings)
    assert complete(runtime, tiny_job).status == "completed"
    return results(runtime.engine)


def test_a_job_from_end_to_end(
    runtime: Runtime, tiny_job: JobSpec, on_sqlite: dict[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = complete(runtime, tiny_job)
    assert found.status == "completed", found.error
    assert found.summary is not None
    counts = found.summary["features"]
    assert counts["asked"] == tiny.FEATURES == counts["active"] + counts["rare"] + counts["dead"]
    assert counts["explained"] > 0
    assert counts["failed"] == found.request_counts.failed
    assert found.request_counts.completed + found.request_counts.failed == tiny.FEATURES
    assert all(stage.done == stage.total for stage in found.stages)
    assert {"detection", "simulation"} == set(found.summary["scores"])
    assert found.summary["tokens_per_s"] > 0
    assert results(runtime.engine) == on_sqlite, "dialect and chunk sizes change nothing"
    with snapshot(runtime.engine) as session:
        listed = session.execute(
            select(FeatureRow.label, ExplanationRow.text).join(ExplanationRow, ExplanationRow.id == FeatureRow.explanation_id)
        ).all()
        assert len(listed) == counts["explained"]
        assert all(label == text for label, text in listed)
    _runs_no_model_for_another_scorer(runtime, tiny_job, monkeypatch)


def _runs_no_model_for_another_scorer(runtime: Runtime, spec: JobSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_arguments: object) -> None:
        raise AssertionError("a model was opened")

    monkeypatch.setattr(prepare, "all_models_of", never)
    monkeypatch.setattr(collect, "all_models_of", never)
    second = complete(runtime, spec.model_copy(update={"scorers": (ScorerSpec(name="detection", nulls=3),)}))
    assert second.status == "completed", second.error
    assert {stage.stage for stage in second.stages} == {Stage.PREPARE, Stage.EXPLAIN, Stage.SCORE, Stage.SUMMARISE}
    with snapshot(runtime.engine) as session:
        good = select(func.count(func.distinct(ExplanationRow.job_id))).where(ExplanationRow.text.is_not(None))
        assert session.scalar(good) == 1, "nothing was explained again but failures"
        assert session.scalar(select(func.count(func.distinct(ScoreRow.settings_digest)))) == 3


def test_features_that_lack_evidence_are_collected_and_no_others(
    tiny_job: JobSpec, tmp_path: Path, on_sqlite: dict[str, list[dict[str, Any]]]
) -> None:
    settings = Settings(home=tmp_path)
    databases.upgrade(settings.database_url)
    runtime = Runtime.of(settings)
    first = tiny_job.model_copy(update={"features": "3-9,20", "scorers": ()})
    assert complete(runtime, first).status == "completed"
    half = complete(runtime, tiny_job.model_copy(update={"features": "0-15", "scorers": ()}))
    merged = next(stage for stage in half.stages if stage.stage == Stage.MERGE)
    assert merged.total == 9
    wanted = {*range(16), 20}
    expected = [row for row in on_sqlite["evidence"] if row["feature"] in wanted]
    assert results(runtime.engine)["evidence"] == expected, "evidence of a feature does not depend on which others are collected with it"


def test_documents_that_share_rows_are_another_run(tiny_job: JobSpec, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    databases.upgrade(settings.database_url)
    runtime = Runtime.of(settings)
    plain = tiny_job.model_copy(update={"features": "0-3", "scorers": ()})
    packed = plain.model_copy(update={"collection": plain.collection.model_copy(update={"packing": True, "shard_tokens": 1024})})
    for spec in (plain, packed):
        assert complete(runtime, spec).status == "completed"
    with snapshot(runtime.engine) as session:
        blobs = [session.scalars(select(EvidenceRow.blob).where(EvidenceRow.run_id == run).order_by(EvidenceRow.feature)).all() for run in (1, 2)]
    apart, shared = ([decode_evidence(blob) for blob in found] for found in blobs)
    assert [item.statistics.tokens_seen for item in shared] == [item.statistics.tokens_seen for item in apart]
    assert [item.statistics.max_activation for item in shared] != [item.statistics.max_activation for item in apart], (
        "attention reads other documents"
    )


def planned(runtime: Runtime, job_id: str) -> dict[Stage, list[dict[str, Any]]]:
    """The payloads of a job's chunks by stage, in order."""
    with snapshot(runtime.engine) as session:
        rows = session.scalars(select(ChunkRow).where(ChunkRow.job_id == job_id).order_by(ChunkRow.number)).all()
        return {stage: [row.payload for row in rows if row.stage == stage] for stage in Stage}


def test_a_dictionary_that_no_worker_holds_at_once_is_cut_by_features_too(
    settings: Settings, tiny_job: JobSpec, on_sqlite: dict[str, list[dict[str, Any]]]
) -> None:
    """Group by shard, with a tree above the shards of each group: the same book to the last byte, and nothing left in the store."""
    spec = tiny_job.model_copy(update={"collection": tiny_job.collection.model_copy(update={"shard_tokens": 1024})})
    models = all_models_of(Runtime.of(settings), spec, [0])[0]
    room = models.nbytes + collection_bytes(12, models.extent, spec.collection)
    runtime = Runtime.of(
        settings.model_copy(update={"gpu_worker_memory_bytes": int(room / USABLE) + 1, "merge_fan_in": 3, "merge_chunk_features": 5})
    )
    found = complete(runtime, spec)
    assert found.status == "completed", found.error
    chunks = planned(runtime, found.job_id)
    groups = {str(payload["parts"]) for payload in chunks[Stage.COLLECT]}
    assert len(groups) == 3
    shards = len(chunks[Stage.COLLECT]) // 3
    assert shards > 9
    assert len(chunks[Stage.COMBINE]) > 9, "two levels at least, for each of three groups"
    assert all(len(payload["inputs"]) <= 3 for payload in chunks[Stage.COMBINE] + chunks[Stage.MERGE])
    assert results(runtime.engine) == on_sqlite
    assert artifact_paths.store_of(settings).names(PARTIALS) == []


def test_the_smallest_worker_that_lives_decides_how_a_dictionary_is_cut(tiny_job: JobSpec, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    databases.upgrade(settings.database_url)
    runtime = Runtime.of(settings)
    models = all_models_of(runtime, tiny_job, [0])[0]
    room = models.nbytes + collection_bytes(12, models.extent, tiny_job.collection)
    with transaction(runtime.engine) as session:
        workers.seen(session, "another machine", WorkerInfo(Queue.GPU, "small", memory_bytes=int(room / USABLE) + 1))
    job_id = submit(runtime, tiny_job)
    assert run_chunk(runtime, Queue.GPU)
    assert len({str(payload["parts"]) for payload in planned(runtime, job_id)[Stage.COLLECT]}) == 3


@pytest.mark.parametrize(("asked", "device", "expected"), [(512, "cpu", 512), ("auto", "cpu", 8192), (512, "cuda", 512), ("auto", "cuda", 65_536)])
def test_all_chunks_have_one_batch_size_by_the_device(
    tiny_job: JobSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: int | str, device: str, expected: int
) -> None:
    settings = Settings(home=tmp_path, gpu_worker_memory_bytes=10**10)
    databases.upgrade(settings.database_url)
    runtime = Runtime.of(settings)
    spec = tiny_job.model_copy(update={"collection": tiny_job.collection.model_copy(update={"batch_tokens": asked, "shard_tokens": 1024})})
    job_id = submit(runtime, spec)
    subject = all_models_of(runtime, spec, [0])[0].subject
    # Planning asks for the device after all that computes on it.
    monkeypatch.setattr(firing_levels, "find", lambda *_: setattr(subject, "device", torch.device(device)))
    assert run_chunk(runtime, Queue.GPU)
    payloads = planned(runtime, job_id)[Stage.COLLECT]
    assert len(payloads) > 9
    assert {payload["batch_tokens"] for payload in payloads} == {expected}


def test_parts_are_combined_as_they_come_and_removed(tiny_job: JobSpec, tmp_path: Path) -> None:
    """What lies in the store at once is bounded by the tree, not by the number of shards."""
    settings = Settings(home=tmp_path, merge_fan_in=2)
    databases.upgrade(settings.database_url)
    runtime = Runtime.of(settings)
    job_id = submit(runtime, tiny_job.model_copy(update={"collection": tiny_job.collection.model_copy(update={"shard_tokens": 1024})}))
    store, most = artifact_paths.store_of(settings), 0
    while run_chunk(runtime, Queue.GPU):
        most = max(most, len(store.names(f"partials/{job_id}")))
    shards = len(planned(runtime, job_id)[Stage.COLLECT])
    levels = (shards - 1).bit_length()
    assert shards > 2 * levels + 1
    assert most <= 2 * levels + 1


def test_a_worker_without_room_for_the_models_says_what_it_needs(tiny_job: JobSpec, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, gpu_worker_memory_bytes=100_000)
    databases.upgrade(settings.database_url)
    found = complete(Runtime.of(settings), tiny_job)
    assert found.status == "failed"
    assert found.error is not None
    assert (found.error["code"], found.error["stage"]) == ("worker-too-small", "prepare")
    assert "GLOSSATOR_GPU_WORKER_MEMORY_BYTES" in found.error["cure"]


def _tampered(spec: JobSpec, folder: Path, how: str) -> JobSpec:
    """A job that passed its preflight and whose files changed since, or whose numbers are bad in a way that no header tells."""
    import numpy as np

    if how == "width":
        tiny.write_dictionary(folder / "dictionary", tiny.WIDTH * 2, tiny.FEATURES)
    elif how == "missing":
        shutil.rmtree(folder / "dictionary")
    elif how == "weights":
        tiny.write_dictionary(folder / "dictionary", tiny.WIDTH, tiny.FEATURES, b_enc=np.full(tiny.FEATURES, np.nan, dtype=np.float32))
    elif how == "features":
        return spec.model_copy(update={"features": f"0-{tiny.FEATURES}"})
    elif how == "corpus":
        (folder / "corpus.jsonl").write_text('{"text": "one lone document"}\n')
    return spec


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("width", "width-mismatch"),
        ("missing", "file-missing"),
        ("weights", "weights-not-finite"),
        ("features", "feature-out-of-range"),
        ("corpus", "corpus-too-small"),
    ],
)
def test_bad_input_fails_at_once_and_leaves_nothing(tmp_path: Path, how: str, code: str) -> None:
    settings = Settings(home=tmp_path / "home")
    databases.upgrade(settings.database_url)
    runtime = Runtime.of(settings)
    spec = _tampered(tiny.build(tmp_path), tmp_path, how)
    with transaction(runtime.engine) as session:
        job_id = jobs.submit(session, spec, steps.Checked(tiny.FEATURES)).id
    drain(runtime, Queue.GPU, Queue.LLM)
    found = steps.look(runtime.engine, job_id)
    assert found.status == "failed"
    assert found.error is not None
    assert (found.error["code"], found.error["stage"]) == (code, "prepare")
    assert steps.statuses(runtime.engine, job_id) == {"prepare:0": "failed"}
    with snapshot(runtime.engine) as session:
        assert [session.scalar(select(func.count()).select_from(table)) for table in (SubjectRow, DictionaryRow, RunRow, FeatureRow)] == [0] * 4
    assert not [path for path in (settings.home / "artifacts").rglob("*") if path.is_file()]


def _full_database(engine: Engine) -> None:
    """SQLite's own "database or disk is full": a page or two are left, too few for results, on this and every later connection."""

    def limit(connection: Any, _record: Any) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages + 2}").close()

    engine.dispose()
    event.listen(engine, "connect", limit)


def _full_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full in the middle of writing a partial, told as numpy tells it: without a number."""
    from interp.collect import partial_file

    def full(path: Path, *_content: object) -> None:
        path.write_bytes(b"half")
        raise OSError("23861 requested and 0 written")

    monkeypatch.setattr(partial_file, "_write", full)


@pytest.mark.parametrize("where", ["database", "artifacts"])
def test_a_full_disk_stops_the_worker_with_a_clear_word_and_costs_the_job_nothing(
    tiny_job: JobSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    settings = Settings(home=tmp_path)
    databases.upgrade(settings.database_url)
    runtime = Runtime(settings, make_engine(settings.database_url))
    job_id = submit(runtime, tiny_job)
    stop_before: Callable[[], bool] = lambda: "merge:0" in steps.statuses(runtime.engine, job_id)  # noqa: E731
    while not stop_before():
        assert run_chunk(runtime, Queue.GPU)
    if where == "artifacts":
        _full_folder(monkeypatch)
    else:
        while steps.statuses(runtime.engine, job_id)["merge:0"] != "ready":
            assert run_chunk(runtime, Queue.GPU)
        _full_database(runtime.engine)
    with pytest.raises(DiskFullError) as told:
        drain(runtime, Queue.GPU, Queue.LLM)
    assert told.value.cure
    leftovers = [path for path in (settings.home / "artifacts" / "partials").rglob("*") if path.is_file() and path.suffix != ".safetensors"]
    assert leftovers == []
    monkeypatch.undo()  # there is room again
    runtime = Runtime(settings, make_engine(settings.database_url))
    completion.sweep(runtime.engine, lambda _owner: True, settings.max_lost_leases)
    drain(runtime, Queue.GPU, Queue.LLM)
    assert steps.look(runtime.engine, job_id).status == "completed"


def test_activations_that_are_not_finite_end_the_job_and_leave_no_evidence(settings: Settings, tiny_job: JobSpec, tmp_path: Path) -> None:
    largest = np.full((tiny.WIDTH, tiny.FEATURES), np.finfo(np.float32).max, dtype=np.float32)
    tiny.write_dictionary(tmp_path / "dictionary", tiny.WIDTH, tiny.FEATURES, W_enc=largest)
    runtime = Runtime.of(settings)
    dictionary = tiny_job.dictionary.model_copy(update={"source": str(tmp_path / "dictionary")})
    found = complete(runtime, tiny_job.model_copy(update={"dictionary": dictionary}))
    assert found.status == "failed"
    assert found.error is not None
    assert found.error["code"] == "activations-not-finite"
    assert "infinity" in found.error["detail"]
    with snapshot(runtime.engine) as session:
        assert session.scalar(select(func.count()).select_from(FeatureRow)) == 0
