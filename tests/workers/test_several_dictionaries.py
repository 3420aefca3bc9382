"""A job on several dictionaries gives each what a job on it alone gives, from one forward pass for all."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from benches import tiny
from interp.collect.memory import collection_bytes
from interp.config.settings import Settings
from interp.domain.errors import FeatureOutOfRangeError, InputError
from interp.domain.lifecycle import Queue, Stage
from interp.domain.spec import DictionarySpec, JobSpec
from interp.files.artifact_store import PARTIALS
from interp.planning import preflight
from interp.store import migrate
from interp.store.db.comparison import DatabaseSnapshot, _rows_of
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import ChunkRow, DictionaryRow
from interp.store.queue import jobs
from interp.store.results import runs
from interp.subject.huggingface import HuggingFaceSubject
from tests.store import steps
from workers import artifact_paths
from workers.runtime import Runtime
from workers.tasks import collect
from workers.tasks.model_cache import USABLE, all_models_of, model_cache_of
from workers.worker import drain

pytestmark = pytest.mark.timeout(300)

Rows = dict[str, dict[Any, Any]]


@pytest.fixture(scope="module")
def job(tiny_job: JobSpec, tmp_path_factory: pytest.TempPathFactory) -> JobSpec:
    """The example's dictionary, a smaller one of the same place, and neurons of both signs of another layer."""
    smaller = tmp_path_factory.mktemp("smaller")
    tiny.write_dictionary(smaller, tiny.WIDTH, 12)
    neurons = DictionarySpec(source=tiny_job.subject.model, format="neurons", name="tiny@0-mlp", hook_point="blocks.0.mlp.hook_post", polarity="both")
    return tiny_job.model_copy(
        update={
            "dictionaries": (tiny_job.dictionary, DictionarySpec(source=str(smaller), name="tiny@1-res-12"), neurons),
            "features": "0-9",
            "corpus": tiny_job.corpus.model_copy(update={"max_tokens": 6000}),
            "collection": tiny_job.collection.model_copy(update={"firing_level": "auto", "shard_tokens": 2048}),
        }
    )


def complete(runtime: Runtime, spec: JobSpec) -> str:
    with transaction(runtime.engine) as session:
        job_id = jobs.submit(session, preflight.settled(spec, facts := preflight.check(spec)), facts).id
    drain(runtime, Queue.GPU, Queue.LLM)
    found = steps.look(runtime.engine, job_id)
    assert found.status == "completed", found.error
    return job_id


def runtime_in(home: Path, **changes: Any) -> Runtime:
    settings = Settings(home=home, **changes)
    migrate.upgrade(settings.database_url)
    return Runtime.of(settings)


@pytest.fixture(scope="module")
def alone(job: JobSpec, tmp_path_factory: pytest.TempPathFactory) -> list[Rows]:
    """All rows of a job on each dictionary, in a database of its own."""
    found = []
    for one in job.each:
        runtime = runtime_in(tmp_path_factory.mktemp("alone"))
        found.append(_rows_of(DatabaseSnapshot(runtime.engine, complete(runtime, one))))
    return found  # type: ignore[return-value]


def of_place(rows: Any, place: int) -> Rows:
    return {what: {key[1:]: row for key, row in found.items() if key[0] == place} for what, found in rows.items() if what != "summary"}


def same_as_alone(runtime: Runtime, job_id: str, alone: list[Rows]) -> None:
    rows = _rows_of(DatabaseSnapshot(runtime.engine, job_id))
    for place, expected in enumerate(alone):
        found = of_place(rows, place)
        assert found["evidence"], "something was found"
        for what, table in found.items():
            assert table == expected[what], (place, what)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The hook points of each forward pass."""
    seen: list[str] = []
    own = HuggingFaceSubject.capture

    def capture(self: HuggingFaceSubject, tokens: Any) -> Any:
        seen.append(self.hook_point)
        return own(self, tokens)

    monkeypatch.setattr(HuggingFaceSubject, "capture", capture)
    yield seen


def test_each_has_what_it_has_alone_from_one_pass(settings: Settings, job: JobSpec, alone: list[Rows], passes: list[str]) -> None:
    model_cache_of.cache_clear()
    runtime = Runtime.of(settings)
    job_id = complete(runtime, job)
    same_as_alone(runtime, job_id, alone)
    of_each = {name: passes.count(name) for name in set(passes)}
    assert set(of_each) == {(both := "blocks.1.hook_resid_pre+blocks.0.mlp.hook_post"), *both.split("+")}
    with snapshot(runtime.engine) as session:
        tokens = runs.size_of(session, jobs.runs_of(session, job_id)[0])[1]
    # Short rows come in batches of a quarter.
    assert of_each[both] < 1.5 * tokens / (job.collection.batch_tokens / 4), "a pass for each batch feeds all; others find levels on a sample"
    assert len(model_cache_of(settings).lru._models) == 4, "three dictionaries and one subject"
    with snapshot(runtime.engine) as session:
        row = jobs.get(session, job_id)
        names = [dictionary.name for _, dictionary in runs.of_jobs(session, [job_id])[job_id]]
        listed = {run_id: [one.id for one in found] for run_id, found in runs.jobs_of(session, jobs.runs_of(session, job_id)).items()}
        current = [run.id for run in runs.all_current(session)]
    assert names == ["tiny@1-res", "tiny@1-res-12", "tiny@0-mlp"]
    assert sorted(listed) == sorted(current), "each run is complete, and lists the job"
    assert set(map(tuple, listed.values())) == {(job_id,)}
    assert (row.features_total, row.summary["features"]["asked"]) == (40, 40)
    each = row.summary["dictionaries"]
    assert [one["dictionary"] for one in each] == names
    for one, expected in zip(each, alone, strict=True):
        assert one["scores"] == expected["summary"][("scores",)]["value"]
        assert one["features"].items() <= expected["summary"][("features",)]["value"].items()
    assert sum(one["features"]["explained"] for one in each) == row.summary["features"]["explained"]
    with snapshot(runtime.engine) as session:
        written = session.scalars(select(DictionaryRow.digest).order_by(DictionaryRow.id)).all()
    assert written == sorted(written), "in one order, whatever the job's: jobs on the same dictionaries must not deadlock"
    passes.clear()
    complete(runtime, job)
    assert passes == [], "all of it is there"


def test_groups_of_features_give_the_same_and_leave_no_file(job: JobSpec, alone: list[Rows], tmp_path: Path) -> None:
    model_cache_of.cache_clear()
    models = all_models_of(runtime_in(tmp_path / "sizes"), job, range(3))
    room = models[0].subject.nbytes + sum(one.dictionary.nbytes for one in models)
    room += sum(collection_bytes(count, one.extent, job.collection) for one, count in zip(models, (4, 4, 9), strict=True))
    model_cache_of.cache_clear()
    runtime = runtime_in(tmp_path / "small", gpu_worker_memory_bytes=int(room / USABLE) + 1, merge_fan_in=2, merge_chunk_features=3)
    job_id = complete(runtime, job)
    with snapshot(runtime.engine) as session:
        rows = session.scalars(select(ChunkRow).where(ChunkRow.job_id == job_id)).all()
        stages = {stage: [row.payload for row in rows if row.stage == stage] for stage in Stage}
    assert len({str(payload["parts"]) for payload in stages[Stage.COLLECT]}) > 1
    assert all(payload["dictionaries"] == [0, 1, 2] for payload in stages[Stage.COMBINE]) and stages[Stage.COMBINE]
    same_as_alone(runtime, job_id, alone)
    assert artifact_paths.store_of(runtime.settings).names(PARTIALS) == []


def test_what_one_of_them_has_is_not_collected_again(job: JobSpec, alone: list[Rows], tmp_path: Path) -> None:
    runtime = runtime_in(tmp_path)
    complete(runtime, job.each[1])
    job_id = complete(runtime, job)
    with snapshot(runtime.engine) as session:
        parts = session.scalars(select(ChunkRow.payload).where(ChunkRow.job_id == job_id, ChunkRow.stage == Stage.COLLECT)).all()
    assert {place for payload in parts for place, _ in payload["parts"]} == {0, 2}
    same_as_alone(runtime, job_id, alone)


def test_a_retry_of_what_failed_of_one_gives_the_same(job: JobSpec, alone: list[Rows], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime, own = runtime_in(tmp_path, max_attempts=1), collect.finish

    def finish(whole: Any, subject: Any, dictionary: Any, *rest: Any) -> Any:
        if dictionary.name == "tiny@1-res-12":
            raise RuntimeError("it is broken")
        return own(whole, subject, dictionary, *rest)

    with monkeypatch.context() as broken:
        broken.setattr(collect, "finish", finish)
        job_id = complete(runtime, job)
    with transaction(runtime.engine) as session:
        jobs.retry(session, job_id)
    drain(runtime, Queue.GPU, Queue.LLM)
    assert steps.look(runtime.engine, job_id).status == "completed"
    same_as_alone(runtime, job_id, alone)


def test_dictionaries_that_one_pass_cannot_feed_are_refused(job: JobSpec, tmp_path: Path) -> None:
    again = job.dictionaries[0].model_copy(update={"name": "another@name"})
    with pytest.raises(InputError, match=r"names another@name twice\. Both sources hold the same weights"):
        preflight.check(job.with_dictionaries([*job.dictionaries, again]))
    with pytest.raises(FeatureOutOfRangeError, match=r"^tiny@1-res-12: Feature 12 is asked for, the dictionary has 12\."):
        preflight.check(job.model_copy(update={"features": "0-12"}))
    wide = job.with_dictionaries([*job.dictionaries[:2], job.dictionaries[2].model_copy(update={"hook_point": "blocks.0.hook_resid_post"})])
    assert preflight.check(wide).n_features > 0
    with pytest.raises(ValueError, match="names one twice"):
        JobSpec.model_validate(job.model_dump(mode="json") | {"dictionaries": [job.dictionary.model_dump(mode="json")] * 2})
