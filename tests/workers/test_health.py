"""A job makes a dictionary's health report: counted in collection's own pass, or on a part of the corpus where evidence is there."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from api.app import create_app
from api.cli import connect
from api.cli.commands import health as health_command
from api.cli.output.health_page import page
from api.cli.output.health_report import print_health
from benches import tiny
from benches.in_process import InProcess
from glossator import ApiError, Client
from interp.collect.memory import collection_bytes
from interp.config.settings import Settings
from interp.domain.errors import ActivationsNotFiniteError
from interp.domain.lifecycle import Queue, Stage
from interp.domain.spec import DictionarySpec, HealthSpec, JobSpec
from interp.files.artifact_store import PARTIALS
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import ChunkRow, ExplanationRow
from interp.store.queue import jobs
from interp.store.results import health_reports, runs
from tests.store import steps
from tests.workers.test_pipeline import complete
from workers import artifact_paths
from workers.runtime import Runtime
from workers.tasks import health
from workers.tasks.model_cache import USABLE, all_models_of, model_cache_of
from workers.worker import drain

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def spec(tiny_job: JobSpec) -> JobSpec:
    body = tiny_job.model_dump(mode="json") | {"explainers": [], "scorers": [], "health": {"tokens": 2048, "token_class": [" self", "self"]}}
    body["corpus"]["max_tokens"] = 6000
    body["collection"]["shard_tokens"] = 2048
    return JobSpec.model_validate(body)


def raise_not_finite(*_: Any) -> None:
    raise ActivationsNotFiniteError("Not finite.")


def report_of(runtime: Runtime, job_id: str) -> dict[str, Any]:
    with snapshot(runtime.engine) as session:
        (run_id,) = jobs.runs_of(session, job_id)
        found = health_reports.find(session, run_id)
    assert found is not None
    assert found.job_id == job_id
    return found.report


def test_a_report_without_labels(settings: Settings, spec: JobSpec) -> None:
    runtime = Runtime.of(settings)
    found = complete(runtime, spec)
    assert found.status == "completed", found.error
    report = report_of(runtime, found.job_id)
    with snapshot(runtime.engine) as session:
        stages = set(session.scalars(select(ChunkRow.stage).where(ChunkRow.job_id == found.job_id)))
        tokens = runs.size_of(session, jobs.runs_of(session, found.job_id)[0])[1]
        assert session.scalars(select(ExplanationRow)).first() is None
    assert stages == {Stage.PREPARE, Stage.COLLECT, Stage.MERGE, Stage.MAP, Stage.HEALTH, Stage.SUMMARISE}
    assert report["activity"]["tokens"] <= tokens
    assert report["activity"]["tokens"] > 0.9 * tokens, "all of the corpus, in its one pass"
    assert report["features"] == report["n_features"] == tiny.FEATURES
    assert report["activity"]["l0"]["value"] > 0
    splicing = report["reconstruction"]["splicing"]
    assert splicing["ce_clean"]["value"] > 0
    assert {one["name"] for one in report["activity"]["classes"]} >= {"own", "newline"}
    assert any(one["name"] == "own" for one in report["concepts"]["concepts"])
    json.dumps(report, allow_nan=False)
    assert artifact_paths.store_of(settings).names(PARTIALS) == [], "what was counted is gone"

    # Where all evidence is there, a part of the corpus is counted: here all of it, with the same result.
    again = complete(runtime, spec.model_copy(update={"health": HealthSpec(tokens=2048, token_class=(" self", "self"), se=0.001)}))
    assert again.status == "completed", again.error
    second = report_of(runtime, again.job_id)
    assert second["activity"] == report["activity"]
    assert second["cofiring"] == report["cofiring"]
    assert second["geometry"] == report["geometry"]


def test_memory_for_the_evidence_alone_is_enough(settings: Settings, spec: JobSpec) -> None:
    model_cache_of.cache_clear()
    (models,) = all_models_of(Runtime.of(settings), spec, [0])
    room = models.subject.nbytes + models.dictionary.nbytes + collection_bytes(tiny.FEATURES // 2, models.extent, spec.collection)
    model_cache_of.cache_clear()
    runtime = Runtime.of(settings.model_copy(update={"gpu_worker_memory_bytes": int(room / USABLE) + 1}))
    found = complete(runtime, spec)
    assert found.status == "completed", found.error
    with snapshot(runtime.engine) as session:
        payloads = session.scalars(select(ChunkRow.payload).where(ChunkRow.job_id == found.job_id, ChunkRow.stage == Stage.COLLECT)).all()
    assert len({str(payload["parts"]) for payload in payloads}) == 2, "a report's counts must not cut the features into more groups"
    assert not any(payload.get("counts_firing") for payload in payloads)
    assert report_of(runtime, found.job_id)["activity"]["tokens"] > 0


def test_a_list_of_no_tokens_is_refused_before_anything_is_collected(settings: Settings, spec: JobSpec) -> None:
    found = complete(Runtime.of(settings), spec.model_copy(update={"health": HealthSpec(token_class=(" self", "no token"))}))
    assert (found.status, found.error and (found.error["stage"], found.error["code"])) == ("failed", ("prepare", "invalid-input"))


def test_it_comes_beside_labels_which_are_not_lost_with_it(settings: Settings, tiny_job: JobSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Runtime.of(settings)
    spec = tiny_job.model_copy(update={"health": HealthSpec(tokens=512), "features": "0-9", "scorers": tiny_job.scorers[:1]})
    with monkeypatch.context() as broken:
        broken.setattr(health, "report", raise_not_finite)
        found = complete(runtime, spec)
    assert found.status == "completed", found.error
    assert found.summary is not None
    assert found.summary["features"]["explained"] > 0
    (missing,) = found.summary["without_health"]
    assert missing == {"dictionary": "tiny@1-res", "detail": "Not finite.", "why": None, "cure": None}
    with transaction(runtime.engine) as session:
        jobs.retry(session, found.job_id)
    drain(runtime, Queue.GPU, Queue.LLM)
    again = steps.look(runtime.engine, found.job_id)
    assert again.summary is not None and again.summary["scores"] == found.summary["scores"] and "without_health" not in again.summary
    assert report_of(runtime, found.job_id)["features"] == 10
    assert artifact_paths.store_of(settings).names(PARTIALS) == []


def test_the_dictionaries_of_a_job_are_compared(settings: Settings, tiny_job: JobSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.write_dictionary(tmp_path / "smaller", tiny.WIDTH, 12)
    body = tiny_job.model_dump(mode="json") | {"explainers": [], "scorers": [], "health": {"tokens": 2048}}
    del body["dictionary"]
    smaller = {"source": str(tmp_path / "smaller"), "name": "tiny@1-smaller"}
    spec = JobSpec.model_validate(body | {"dictionaries": [tiny_job.dictionary.model_dump(mode="json"), smaller]})
    found = complete(Runtime.of(settings), spec)
    assert found.status == "completed", found.error
    with Client("http://test", InProcess(create_app(settings))) as client:
        first = client.get_dictionary_health("tiny@1-res", against=["tiny@1-smaller"])
        second = client.get_dictionary_health("tiny@1-smaller")
        with pytest.raises(ApiError, match="same name"):
            client.get_dictionary_health("tiny@1-res", against=["tiny@1-res"])
        with pytest.raises(ApiError, match="No dictionary"):
            client.get_dictionary_health("tiny@1-res", against=["tiny@none"])
        (run,) = client.list_runs("tiny@1-smaller")
        for reference in (None, str(run["number"]), run["name"], run["digest"][:8]):
            assert health_command._spec(client, "tiny@1-smaller", reference)["dictionary"]["name"] == "tiny@1-smaller"
        monkeypatch.setattr(connect, "reader", lambda: nullcontext(client))
        monkeypatch.setattr(health_command, "_measured", lambda *_: pytest.fail("a job was submitted"))
        for again in (False, True):
            with pytest.raises(ApiError, match="No dictionary"):
                health_command.health("tiny@1-res", against=["tiny@none"], again=again)
    # The smaller one's features are the first of the larger one, by the same draw.
    (pair,) = second["report"]["matching"]["pairs"]
    assert pair["other"] == "tiny@1-res"
    assert pair["decoder"]["match"]["one_to_one"]["mean"]["value"] > 0.999
    assert first["report"]["matching"]["pairs"][0]["decoder"]["match"]["one_to_one"]["pairs"] == 12
    measures = {one["measure"]: one for one in first["comparison"]["measures"]}
    (compared,) = measures["fvu"]["comparisons"]
    assert (compared["first"], compared["second"]) == ("tiny@1-res", "tiny@1-smaller")
    assert compared["difference"]["value"] is None and "L0" in compared["difference"]["why"], "they are not matched"
    print_health(first)
    drawn = page(first)
    assert "FVU against L0" in drawn
    assert drawn.count("<circle") > page(second).count("<circle")


@pytest.mark.parametrize("bias", [-100.0, 100.0], ids=["never fires", "fires everywhere"])
def test_a_dictionary_that_says_nothing_has_a_report_without_nan(settings: Settings, spec: JobSpec, tmp_path: Path, bias: float) -> None:
    tiny.write_dictionary(tmp_path / "odd", tiny.WIDTH, 12, b_enc=np.full(12, bias, dtype=np.float32))
    odd = spec.model_copy(update={"dictionary": DictionarySpec(source=str(tmp_path / "odd"), name="tiny@odd"), "health": HealthSpec(tokens=512)})
    runtime = Runtime.of(settings)
    found = complete(runtime, odd)
    assert found.status == "completed", found.error
    report = report_of(runtime, found.job_id)
    json.dumps(report, allow_nan=False)
    assert report["activity"]["l0"]["value"] == (0 if bias < 0 else 12)
    assert (report["activity"]["dead"]["count"], report["activity"]["dense"]["count"]) == ((12, 0) if bias < 0 else (0, 12))
    page({"dictionary": "tiny@odd", "run": "tiny@odd/1", "report": report})
