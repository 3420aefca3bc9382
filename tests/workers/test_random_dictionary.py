"""The control `random_dictionary`: random directions that fire as often, beside a dictionary that has learnt something."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sqlalchemy import select
from tokenizers import Tokenizer

from api.reads.health import health
from benches import tiny
from interp.collect.memory import collection_bytes
from interp.dictionary.formats import dictionary_digest
from interp.dictionary.module import open_dictionary
from interp.domain.errors import DictionaryError, InputError
from interp.domain.lifecycle import Stage
from interp.domain.spec import MOST_PARTS, DictionarySpec, HealthSpec, JobSpec
from interp.health.verdict import NO_CONTROL
from interp.planning import preflight
from interp.store.db.comparison import DatabaseSnapshot, _rows_of
from interp.store.db.engine import snapshot
from interp.store.db.tables import ChunkRow, FeatureRow
from interp.store.queue import jobs
from interp.store.results import runs
from tests.workers.test_several_dictionaries import complete, runtime_in
from workers.runtime import Runtime
from workers.tasks import random_dictionary
from workers.tasks.model_cache import USABLE, all_models_of, model_cache_of

pytestmark = pytest.mark.timeout(300)

TOKENS = 16
BLUR = 0.1


@pytest.fixture(scope="module")
def job(tiny_job: JobSpec, tmp_path_factory: pytest.TempPathFactory) -> JobSpec:
    """A dictionary whose features are the embeddings of frequent tokens: each fires at its own, and a pattern explains it."""
    folder, subject = tmp_path_factory.mktemp("planted"), tmp_path_factory.mktemp("subject") / "subject"
    shutil.copytree(tiny_job.subject.model, subject)
    weights = load_file(subject / "model.safetensors")
    # What a layer adds blurs the embeddings, and does not bury them.
    weights = {name: tensor * BLUR if name.endswith(("o_proj.weight", "down_proj.weight")) else tensor for name, tensor in weights.items()}
    save_file(weights, subject / "model.safetensors", {"format": "pt"})
    ids = [one for found in Tokenizer.from_file(str(subject / "tokenizer.json")).encode_batch(tiny.some_texts()) for one in found.ids]
    frequent = np.argsort(-np.bincount(ids), kind="stable")[:TOKENS]
    rows = weights["model.embed_tokens.weight"][frequent]
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    tiny.write_dictionary(folder, tiny.WIDTH, TOKENS, W_enc=np.ascontiguousarray(rows.T), W_dec=rows, b_enc=np.full(TOKENS, -0.7, np.float32))
    return tiny_job.model_copy(
        update={
            "subject": tiny_job.subject.model_copy(update={"model": str(subject)}),
            "dictionary": DictionarySpec(source=str(folder), name="tiny@planted"),
            "corpus": tiny_job.corpus.model_copy(update={"max_tokens": 6000}),
            "collection": tiny_job.collection.model_copy(update={"shard_tokens": 2048}),
            "scorers": tiny_job.scorers[:1],
            "controls": ("null", "random_dictionary"),
        }
    )


@pytest.fixture(scope="module")
def done(job: JobSpec, tmp_path_factory: pytest.TempPathFactory) -> tuple[Runtime, str]:
    """The job with its control and health reports, completed."""
    runtime = runtime_in(tmp_path_factory.mktemp("done"))
    return runtime, complete(runtime, job.model_copy(update={"health": HealthSpec(tokens=1024)}))


def test_what_is_learnt_scores_better_than_random_directions(done: tuple[Runtime, str]) -> None:
    runtime, job_id = done
    with snapshot(runtime.engine) as session:
        row = jobs.get(session, job_id)
        names = [dictionary.name for _, dictionary in runs.of_jobs(session, [job_id])[job_id]]
        densities = [
            np.array(session.scalars(select(FeatureRow.density).where(FeatureRow.run_id == run).order_by(FeatureRow.feature)).all())
            for run in jobs.runs_of(session, job_id)
        ]
    assert names == ["tiny@planted", "tiny@planted-random"]
    assert (row.features_total, [one["dictionary"] for one in row.summary["dictionaries"]]) == (2 * TOKENS, names)
    (compared,) = row.summary["random_dictionary"]["dictionaries"]
    assert (compared["dictionary"], compared["control"]) == tuple(names)
    own, control = (one["scores"]["detection"]["median"] for one in row.summary["dictionaries"])
    found = compared["scores"]["detection"]
    assert (found["median"], found["lift"]) == (control, own - control)
    assert found["lift"] > 0.1
    assert found["pairs"] >= 3
    low, high = found["interval"]
    assert 0 < low < found["difference"] < high
    # Levels are of the explain split; the test split's densities follow.
    np.testing.assert_allclose(densities[0], densities[1], rtol=0.35)


def test_health_reports_stand_side_by_side(done: tuple[Runtime, str]) -> None:
    with snapshot(done[0].engine) as session:
        trained, control = (health(session, name, None) for name in ("tiny@planted", "tiny@planted-random"))
    assert control.report["architecture"] == "random_directions"
    assert control.report["activity"]["l0"]["value"] == pytest.approx(trained.report["activity"]["l0"]["value"], rel=0.1)
    found = {line.figure: line for line in trained.verdict}
    assert (found["L0"].trained, found["L0"].control) == tuple(of.report["activity"]["l0"]["value"] for of in (trained, control))
    assert found["median detection score"].verdict == "better"
    assert {line.against for line in trained.verdict if line.verdict != "not compared"} == {"random directions"}
    assert {line.figure: line.why for line in control.verdict}["L0"] == NO_CONTROL


def test_shards_groups_and_lost_biases_change_nothing(
    job: JobSpec, done: tuple[Runtime, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled = job.with_random_dictionaries()
    models = all_models_of(done[0], settled, range(2))
    room = models[0].subject.nbytes + sum(one.dictionary.nbytes for one in models)
    room += sum(collection_bytes(TOKENS // 2, one.extent, job.collection) for one in models)
    model_cache_of.cache_clear()
    monkeypatch.setattr(random_dictionary, "save", lambda *_: None)
    runtime = runtime_in(tmp_path / "small", gpu_worker_memory_bytes=int(room / USABLE) + 1)
    job_id = complete(runtime, job)
    with snapshot(runtime.engine) as session:
        payloads = session.scalars(select(ChunkRow.payload).where(ChunkRow.job_id == job_id, ChunkRow.stage == Stage.COLLECT)).all()
    assert len({str(payload["parts"]) for payload in payloads}) > 1
    first, second = (_rows_of(DatabaseSnapshot(of.engine, number))["evidence"] for of, number in (done, (runtime, job_id)))
    assert any(key[0] == 1 for key in first)
    assert first == second
    model_cache_of.cache_clear()


def test_its_identity_says_that_directions_are_drawn(job: JobSpec) -> None:
    trained, control = (one.dictionary for one in job.with_random_dictionaries().each)
    assert "directions" not in trained.model_dump(mode="json"), "identities and requests of before stay"
    assert dictionary_digest(trained) != dictionary_digest(control)
    facts = preflight.check(job)
    assert len({one.evidence_id for one in facts.dictionaries}) == 2
    assert preflight.settled(preflight.settled(job, facts), facts) == preflight.settled(job, facts)
    alone = preflight.check(job.model_copy(update={"dictionary": control, "controls": ("null",)})).dictionaries
    assert [one.evidence_id for one in alone] == [facts.dictionaries[1].evidence_id], "alone it is the same"
    opened = [open_dictionary(control) for _ in range(2)]
    assert bool((opened[0].W_dec == opened[1].W_dec).all())
    assert not bool(np.isclose(opened[0].W_dec, open_dictionary(trained).W_dec).any(axis=1).all())


def test_what_has_no_control_is_refused(job: JobSpec) -> None:
    neurons = DictionarySpec(source=job.subject.model, format="neurons", hook_point="blocks.1.mlp.hook_post")
    with pytest.raises(DictionaryError, match="neurons have no dictionary of random directions"):
        preflight.check(job.model_copy(update={"dictionary": neurons}))
    many = tuple(job.dictionary.model_copy(update={"name": f"tiny@{number}"}) for number in range(MOST_PARTS // 2 + 1))
    with pytest.raises(InputError, match="34 dictionaries with those of its control"):
        preflight.check(job.model_copy(update={"dictionary": many[0], "dictionaries": many}))
