"""Jobs that have texts written, and read by the subject, from end to end on both dialects."""

from collections.abc import Iterator

import pytest
from sqlalchemy import delete, select

from interp.config.settings import Settings
from interp.domain.lifecycle import Queue, Stage
from interp.domain.spec import JobSpec
from interp.score.items.codec import decode_items
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import ChunkRow, MeasurementRow, ScoreItemsRow, ScoreRow
from interp.store.queue import jobs
from tests.fakes.full_server import FullServer
from tests.workers.asking import complete, recorded, spec_of, submit
from workers.runtime import Runtime
from workers.worker import drain

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def runtime(settings: Settings, server: FullServer) -> Runtime:
    return Runtime.of(settings.model_copy(update={"explain_chunk_features": 4, "llm_max_outage_seconds": 2.0, "llm_base_url": server.base_url}))


@pytest.fixture
def server() -> Iterator[FullServer]:
    with FullServer() as made:
        yield made


def asked(tiny_job: JobSpec, server: FullServer, **changes: object) -> JobSpec:
    return spec_of(tiny_job, server, **{"scorers": [{"name": "generation", "nulls": 5, "texts": 6}], "controls": ["null", "baseline"]} | changes)


def scores(runtime: Runtime) -> list[ScoreRow]:
    with snapshot(runtime.engine) as session:
        return list(session.scalars(select(ScoreRow).where(ScoreRow.scorer == "generation").order_by(ScoreRow.feature)))


def test_texts_are_written_once_and_read_by_the_subject(runtime: Runtime, server: FullServer, tiny_job: JobSpec) -> None:
    job = complete(runtime, asked(tiny_job, server))
    stages = [(stage.stage, stage.chunks) for stage in job.stages if stage.stage in (Stage.WRITE, Stage.PROBE, Stage.SCORE)]
    assert stages == [(Stage.WRITE, {"done": 2}), (Stage.PROBE, {"done": 2}), (Stage.SCORE, {"done": 2})]
    purposes = [(call.stage, call.purpose) for call in recorded(runtime, job.job_id)]
    made = scores(runtime)
    assert made
    assert all(score.value is not None and score.failed == 0 for score in made)
    assert purposes.count(("write", "generation")) >= len(made)
    assert ("score", "generation") not in purposes, "scoring asks nothing"
    assert job.summary is not None
    assert job.summary["scores"]["generation"]["scored"] == len(made)
    assert job.summary["scores"]["generation"]["tested"] == len(made)
    with snapshot(runtime.engine) as session:
        items = {row.score_id: decode_items(row.blob) for row in session.scalars(select(ScoreItemsRow))}
    for score in made:
        own = items[score.id]
        assert [item.kind for item in own[:6]] == ["fires"] * 6
        assert 3 <= [item.kind for item in own].count("near") <= 6
        assert all(len(item.detail["tokens"]) == len(item.detail["activations"]) > 0 for item in own if item.detail)
        assert all(max(item.detail["activations"]) == pytest.approx(item.detail["max"], abs=1e-3) for item in own if item.detail)
        assert score.value == sum(item.prediction for item in own[:6]) / 6
        assert [control["name"] for control in score.controls or []] == ["baseline"]
        assert len(score.null_values or []) == 5
    before = server.totals.calls
    complete(runtime, asked(tiny_job, server))
    assert server.totals.calls == before, "a second job asks nothing again"


def test_the_figures_do_not_depend_on_chunks(runtime: Runtime, server: FullServer, tiny_job: JobSpec) -> None:
    complete(runtime, asked(tiny_job, server))
    first = [(score.feature, score.value, score.low, score.null_values, score.details["metrics"]) for score in scores(runtime)]
    with transaction(runtime.engine) as session:
        session.execute(delete(ScoreRow))
        session.execute(delete(MeasurementRow))
    whole = Runtime.of(runtime.settings.model_copy(update={"explain_chunk_features": 64}))
    complete(whole, asked(tiny_job, server))
    assert [(score.feature, score.value, score.low, score.null_values, score.details["metrics"]) for score in scores(runtime)] == first


def test_nulls_have_texts_where_a_larger_job_explained_before(runtime: Runtime, server: FullServer, tiny_job: JobSpec) -> None:
    complete(runtime, asked(tiny_job, server, features="0-15", scorers=["detection"]))
    complete(runtime, asked(tiny_job, server, features="0-3", scorers=[{"name": "generation", "nulls": 2, "texts": 6}]))
    made = scores(runtime)
    assert len(made) >= 3
    assert all(len(score.null_values or []) == 2 and None not in (score.null_values or [None]) for score in made)
    assert all(score.lift is not None for score in made)


def test_a_chunk_of_texts_that_failed_is_tried_again_with_all_that_depends_on_it(
    runtime: Runtime, server: FullServer, tiny_job: JobSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workers.tasks import probe

    spec, whole = asked(tiny_job, server), probe.models_for

    def broken(*_: object) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr(probe, "models_for", broken)
    job_id = submit(runtime, spec)
    drain(runtime, Queue.GPU, Queue.LLM)
    made = scores(runtime)
    assert made
    assert all(score.value is None and "not run through the subject" in str(score.reason) for score in made)
    monkeypatch.setattr(probe, "models_for", whole)
    with transaction(runtime.engine) as session:
        jobs.retry(session, job_id)
    drain(runtime, Queue.GPU, Queue.LLM)
    assert all(score.value is not None for score in scores(runtime))
    with snapshot(runtime.engine) as session:
        assert {row.status for row in session.scalars(select(ChunkRow).where(ChunkRow.job_id == job_id))} == {"done"}
