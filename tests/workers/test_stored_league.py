"""A stored league table says what one made of all scores says."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import insert, select

from api.reads.curation import league
from api.schemas.curation.league import LeagueAnswer
from interp.analysis import stored_league
from interp.config.settings import Settings
from interp.domain.spec import JobSpec
from interp.store import reviews
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import ExplanationRow, FeatureRow, LeagueTableRow, RunRow, ScoreRow
from interp.store.results import explanations, labels, league_tables
from interp.store.reviews import NewReview
from tests.fakes.full_server import FullServer
from tests.workers.asking import complete, spec_of
from workers.runtime import Runtime

pytestmark = pytest.mark.timeout(300)
ASKED = {"scorers": [{"name": "detection", "nulls": 2}], "controls": ["null", "baseline"]}


@pytest.fixture
def server() -> Iterator[FullServer]:
    with FullServer() as made:
        yield made


@pytest.fixture
def runtime(settings: Settings, server: FullServer) -> Runtime:
    return Runtime.of(settings.model_copy(update={"llm_max_outage_seconds": 2.0, "llm_base_url": server.base_url}))


def refuse(*_: Any) -> Any:
    raise AssertionError("all scores are read")


def table(runtime: Runtime) -> LeagueAnswer:
    with snapshot(runtime.engine) as session:
        return league.table(session, "tiny@1-res", None)


def compared(runtime: Runtime, monkeypatch: pytest.MonkeyPatch, *, is_stored: bool) -> LeagueAnswer:
    """Return the table, which must be as if none were stored."""
    with monkeypatch.context() as patched:
        patched.setattr(league_tables, "find", lambda *_: None)
        expected = table(runtime)
    with monkeypatch.context() as patched:
        if is_stored:
            patched.setattr(stored_league, "_made", refuse)
        found = table(runtime)
    with snapshot(runtime.engine) as session:
        assert (league_tables.find(session, 1) is not None) == is_stored
    assert found == expected
    return found


def test_a_stored_table_is_shown_as_long_as_it_is_true(
    runtime: Runtime, server: FullServer, tiny_job: JobSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete(runtime, spec_of(tiny_job, server, explainers=["pattern"], **ASKED))
    (division,) = compared(runtime, monkeypatch, is_stored=True).divisions
    assert [entry.explainer for entry in division.entries] == ["pattern"]

    complete(runtime, spec_of(tiny_job, server, explainers=[{"name": "contexts", "contexts": 6}], **ASKED))
    (division,) = compared(runtime, monkeypatch, is_stored=True).divisions
    assert {entry.explainer for entry in division.entries} == {"contexts", "pattern"}
    assert any(entry.cost is not None for entry in division.entries)
    assert division.differences[0].low is not None

    with transaction(runtime.engine) as session:
        labels.save(session, 1, [(1, "said elsewhere", "human", "ann")], "a" * 64, "a.csv", {})
        run, listed = session.get_one(RunRow, 1), session.get_one(FeatureRow, (1, 2))
        reviews.write(session, run, listed, NewReview(2, "edit", "ann", text="by a person"))
        reviews.write(session, run, listed, NewReview(2, "edit", "ann", text="by a person, again"))
    compared(runtime, monkeypatch, is_stored=True)

    with transaction(runtime.engine) as session:
        scored = session.scalars(select(ScoreRow.explanation_id).join(ExplanationRow).where(ExplanationRow.explainer == "pattern").limit(1)).all()
        assert explanations.delete_scores(session, 1, scored) == 1
    (after,) = compared(runtime, monkeypatch, is_stored=False).divisions
    assert sum(entry.features for entry in after.entries) == sum(entry.features for entry in division.entries) - 1

    stored_league.store(runtime.engine, 1)
    assert compared(runtime, monkeypatch, is_stored=True).divisions == [after]


def test_a_person_s_scored_label_that_is_written_anew_leaves_the_table(
    runtime: Runtime, server: FullServer, tiny_job: JobSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete(runtime, spec_of(tiny_job, server, explainers=["pattern"], **ASKED))

    def write(text: str) -> None:
        with transaction(runtime.engine) as session:
            reviews.write(session, session.get_one(RunRow, 1), session.get_one(FeatureRow, (1, 2)), NewReview(2, "edit", "ann", text=text))

    write("by a person")
    with transaction(runtime.engine) as session:
        human = session.scalars(select(ExplanationRow.id).where(ExplanationRow.explainer != "pattern")).one()
        score = session.scalars(select(ScoreRow).where(ScoreRow.value.is_not(None)).limit(1)).one()
        columns = {column.name: getattr(score, column.name) for column in ScoreRow.__table__.c if column.name != "id"}
        session.execute(insert(ScoreRow).values(columns | {"explanation_id": human, "feature": 2}))
        league_tables.count_change(session, 1)
    stored_league.store(runtime.engine, 1)
    before = compared(runtime, monkeypatch, is_stored=True)
    write("by a person, again")
    after = compared(runtime, monkeypatch, is_stored=False)
    assert len(after.divisions[0].entries) == len(before.divisions[0].entries) - 1 == 1


def test_a_stored_table_of_another_format_is_made_anew(
    runtime: Runtime, server: FullServer, tiny_job: JobSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete(runtime, spec_of(tiny_job, server, explainers=["pattern", {"name": "contexts", "contexts": 6}], **ASKED))
    expected = compared(runtime, monkeypatch, is_stored=True)
    with transaction(runtime.engine) as session:
        row = session.scalars(select(LeagueTableRow)).one()
        earlier = dict(row.content["table"])
        for pair in (pair for division in earlier["divisions"] for pair in division["differences"]):
            pair.pop("largest")
        row.content = earlier
    assert table(runtime) == expected
    stored_league.store(runtime.engine, 1)
    assert compared(runtime, monkeypatch, is_stored=True) == expected
