"""Labels from elsewhere are scored like our own, and compared in the league, on both dialects."""

from collections.abc import Iterator

import pytest
from pydantic import ValidationError
from sqlalchemy import select

from api.reads.curation import league
from interp.config.settings import Settings
from interp.domain.spec import ExplainerSpec, JobSpec
from interp.explain.imported import UNKNOWN_SPLIT
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import ExplanationRow, RunRow, ScoreRow
from interp.store.results import labels
from tests.fakes.full_server import FullServer
from tests.workers.asking import complete, spec_of
from workers.runtime import Runtime

pytestmark = pytest.mark.timeout(300)
OWN = {str(feature): f'the text "w{feature}"' for feature in range(6)}


@pytest.fixture
def runtime(settings: Settings, server: FullServer) -> Runtime:
    return Runtime.of(settings.model_copy(update={"llm_max_outage_seconds": 2.0, "llm_base_url": server.base_url}))


@pytest.fixture
def server() -> Iterator[FullServer]:
    with FullServer() as made:
        yield made


def scored(runtime: Runtime, explainer: str) -> dict[int, tuple[ExplanationRow, ScoreRow]]:
    with snapshot(runtime.engine) as session:
        rows = session.execute(
            select(ExplanationRow, ScoreRow).join(ScoreRow, ScoreRow.explanation_id == ExplanationRow.id).where(ExplanationRow.explainer == explainer)
        )
        return {made.feature: (made, score) for made, score in rows}


def test_labels_of_a_job_and_of_an_import_are_scored_with_nulls_and_compared(runtime: Runtime, server: FullServer, tiny_job: JobSpec) -> None:
    asked = {"scorers": [{"name": "detection", "nulls": 2}], "controls": ["null", "baseline"]}
    explainers = [{"name": "contexts", "contexts": 6}, {"name": "pattern"}, {"name": "imported", "labels": OWN}]
    complete(runtime, spec_of(tiny_job, server, explainers=explainers, **asked))
    mine = scored(runtime, "imported")
    assert sorted(mine) == [int(feature) for feature in OWN]
    for feature, (made, score) in mine.items():
        assert made.text == OWN[str(feature)]
        assert made.provenance["test_split"] == UNKNOWN_SPLIT
        assert score.details["provenance"]["caveat"] == UNKNOWN_SPLIT
        assert len(score.null_values or []) == 2
    assert all("caveat" not in score.details["provenance"] for _, score in scored(runtime, "contexts").values())
    with snapshot(runtime.engine) as session:
        table = league.table(session, "tiny@1-res", None)
    (division,) = table.divisions
    assert {entry.explainer for entry in division.entries} == {"contexts", "pattern", "imported"}
    assert len({entry.common for entry in division.entries}) == 1
    assert len(division.differences) == 3
    costs = {entry.explainer: entry.cost for entry in division.entries}
    assert costs["contexts"] is not None
    assert costs["contexts"].calls >= 1
    assert costs["contexts"].tokens > 100
    assert costs["imported"] is None is costs["pattern"]


def test_an_earlier_import_is_named_by_its_method_and_the_latest_counts(runtime: Runtime, server: FullServer, tiny_job: JobSpec) -> None:
    complete(runtime, spec_of(tiny_job, server, explainers=["pattern"], scorers=[]))
    with transaction(runtime.engine) as session:
        (run_id,) = session.scalars(select(RunRow.id))
        labels.save(session, run_id, [(1, "old", "human", "ann"), (2, "kept", "human", "ann"), (3, "other", "delphi", None)], "a" * 64, "a.csv", {})
        labels.save(session, run_id, [(1, "new", "human", "bob")], "b" * 64, "b.csv", {})
    job = spec_of(tiny_job, server, explainers=[{"name": "imported", "source": "human"}], scorers=[{"name": "detection", "nulls": 1}])
    complete(runtime, job)
    with snapshot(runtime.engine) as session:
        made = session.scalars(select(ExplanationRow).where(ExplanationRow.explainer == "imported").order_by(ExplanationRow.feature)).all()
    assert {row.feature: row.text for row in made if row.text} == {1: "new", 2: "kept"}
    assert made[1].provenance["source"] == "b.csv"
    assert all(row.failure == "No label of this feature was imported." for row in made if row.text is None)
    assert scored(runtime, "imported").keys() == {1, 2}


@pytest.mark.parametrize(
    "options",
    [
        {"name": "imported"},
        {"name": "imported", "source": "human", "labels": {"1": "a"}},
        {"name": "contexts", "labels": {"1": "a"}},
        {"name": "imported", "labels": {"-1": "a"}},
        {"name": "imported", "labels": {"1": ""}},
        {"name": "imported", "labels": {}},
    ],
)
def test_labels_are_refused_where_they_are_none(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ExplainerSpec.model_validate(options)
