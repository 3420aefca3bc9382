"""Jobs that read what features do to predictions, from end to end on both dialects."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select

from interp.config.settings import Settings
from interp.domain.evidence import Split
from interp.domain.lifecycle import Stage
from interp.domain.spec import JobSpec
from interp.score.items.codec import decode_items
from interp.store.db.engine import snapshot
from interp.store.db.tables import ExplanationRow, MeasurementRow, ScoreItemsRow, ScoreRow
from interp.store.db.text import unpack
from tests.fakes.full_server import FullServer
from tests.workers.asking import complete, recorded, spec_of
from workers.runtime import Runtime

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def runtime(settings: Settings, server: FullServer) -> Runtime:
    return Runtime.of(settings.model_copy(update={"explain_chunk_features": 4, "llm_max_outage_seconds": 2.0, "llm_base_url": server.base_url}))


@pytest.fixture
def server() -> Iterator[FullServer]:
    with FullServer() as made:
        yield made


def test_shifts_are_measured_once_and_the_judge_chooses_among_three(runtime: Runtime, server: FullServer, tiny_job: JobSpec) -> None:
    job = complete(runtime, spec_of(tiny_job, server, scorers=["output"]))
    assert [stage.stage for stage in job.stages if stage.stage in (Stage.WRITE, Stage.PROBE)] == [Stage.PROBE], "nothing is written"
    with snapshot(runtime.engine) as session:
        made = session.scalars(select(ScoreRow).where(ScoreRow.scorer == "output")).all()
        measured = session.scalars(select(MeasurementRow).where(MeasurementRow.name == "effect")).all()
        items = {row.score_id: decode_items(row.blob) for row in session.scalars(select(ScoreItemsRow))}
    assert len(measured) == 8
    assert len(made) == 8
    assert all(score.value is not None and score.answered == 12 and len(score.null_values or []) == 2 for score in made)
    for score in made:
        for item in items[score.id]:
            assert item.detail is not None
            assert score.feature in item.detail["features"]
            assert all(abs(kl - 0.5) <= 0.026 for kl in item.detail["kl"])
            assert all(strength > 0 for strength in item.detail["strength"])
    assert {call.purpose for call in recorded(runtime, job.job_id)} == {"contexts", "output", "output/null"}
    before = server.totals.calls
    complete(runtime, spec_of(tiny_job, server, scorers=["output"]))
    assert server.totals.calls == before


def test_foils_have_an_effect_where_a_larger_job_explained_before(runtime: Runtime, server: FullServer, tiny_job: JobSpec) -> None:
    complete(runtime, spec_of(tiny_job, server, features="0-31", scorers=["detection"]))
    complete(runtime, spec_of(tiny_job, server, features="0-3", scorers=["output"]))
    with snapshot(runtime.engine) as session:
        made = session.scalars(select(ScoreRow).where(ScoreRow.scorer == "output")).all()
    assert len(made) == 4
    assert all(score.value is not None and score.reason is None for score in made)


def test_an_explainer_reads_changes_that_are_measured_on_explain_documents(
    runtime: Runtime, server: FullServer, tiny_job: JobSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workers.tasks import probe

    splits, whole = [], probe.prompts_of

    def seen(*given: Any, split: Split) -> Any:
        splits.append(split)
        return whole(*given, split=split)

    monkeypatch.setattr(probe, "prompts_of", seen)
    spec = spec_of(tiny_job, server, explainers=[{"name": "output_tokens", "output": "token_change"}, {"name": "output_tokens"}], scorers=[])
    job = complete(runtime, spec)
    assert [stage.stage for stage in job.stages if stage.stage in (Stage.PROPOSE, Stage.TRY, Stage.PROBE)] == [Stage.TRY], "nothing is proposed"
    assert splits and set(splits) == {Split.EXPLAIN}
    with snapshot(runtime.engine) as session:
        rows = session.scalars(select(ExplanationRow).order_by(ExplanationRow.feature)).all()
        measured = {row.feature: json.loads(unpack(row.content)) for row in session.scalars(select(MeasurementRow))}
    by_change = [row for row in rows if row.provenance["settings"].get("output") == "token_change"]
    assert len(by_change) == len(rows) - len(by_change) == 8
    labelled = {row.feature for row in by_change if row.text is not None}
    assert labelled == {feature for feature, found in measured.items() if found["why"] is None} != set()
    assert all(found["why"] or (found["up"] and found["down"]) for found in measured.values())
    before = server.totals.calls
    complete(runtime, spec)
    assert (server.totals.calls, len(splits)) == (before, 2), "a second job asks and measures nothing again"
