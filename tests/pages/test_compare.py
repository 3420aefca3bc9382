"""The page that compares explainers, and dictionaries."""

from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest
from playwright.sync_api import expect
from sqlalchemy import Engine, delete, inspect, select

from api.reads.curation import league
from api.reads.curation.pairs import pairs
from api.server import Service
from interp.analysis import league as analysis
from interp.domain.spec import JobSpec
from interp.store.db.engine import make_engine, snapshot, transaction
from interp.store.db.tables import DictionaryRow, ExplanationRow, FeatureRow, HealthReportRow, JobRow, JobRunRow, RunRow, ScoreRow
from interp.store.results import health_reports
from interp.store.results.listed_scores import scored_features
from tests.api.synthetic import NAME
from tests.pages.browsing import Watched

OTHER = "contexts"
TWIN = "toy@1-twin"
JOB = "pairs"


def values(row: object) -> dict[str, object]:
    return {column.key: getattr(row, column.key) for column in inspect(type(row)).column_attrs if column.key != "id"}


@pytest.fixture
def rivals(server: Service) -> Iterator[Engine]:
    """The server's database with labels of a second explainer, with scores of its own."""
    engine = make_engine(server._settings.database_url)
    with transaction(engine) as session:
        for score in session.scalars(select(ScoreRow).where(ScoreRow.value.is_not(None))).all():
            of = session.get_one(ExplanationRow, score.explanation_id)
            rival = ExplanationRow(**values(of) | {"explainer": OTHER, "text": f"<i>rival</i> of {of.feature}"})
            session.add(rival)
            session.flush()
            session.add(ScoreRow(**values(score) | {"explanation_id": rival.id, "value": 0.04 * (score.feature * 5 % 11)}))
    yield engine
    with transaction(engine) as session:
        made = select(ExplanationRow.id).where(ExplanationRow.explainer == OTHER)
        session.execute(delete(ScoreRow).where(ScoreRow.explanation_id.in_(made)))
        session.execute(delete(ExplanationRow).where(ExplanationRow.explainer == OTHER))
    engine.dispose()


@pytest.fixture
def twin(server: Service) -> Iterator[Engine]:
    """The server's database with a second dictionary, whose scores are lower by .1."""
    engine = make_engine(server._settings.database_url)
    with transaction(engine) as session:
        own = session.scalars(select(DictionaryRow).where(DictionaryRow.name == NAME)).one()
        run = session.scalars(select(RunRow).where(RunRow.dictionary_id == own.id)).one()
        twin = DictionaryRow(**values(own) | {"name": TWIN, "digest": "t" * 64, "polarity": "both"})
        session.add(twin)
        session.flush()
        of_twin = RunRow(**values(run) | {"dictionary_id": twin.id, "digest": "t" * 64})
        session.add(of_twin)
        session.flush()
        for row in session.scalars(select(FeatureRow).where(FeatureRow.run_id == run.id)).all():
            label = session.get(ExplanationRow, row.explanation_id) if row.explanation_id else None
            made = None
            if label is not None:
                made = ExplanationRow(**values(label) | {"run_id": of_twin.id, "text": f"<i>twin</i> of {row.feature}"})
                session.add(made)
                session.flush()
                for score in session.scalars(select(ScoreRow).where(ScoreRow.explanation_id == label.id)).all():
                    lower = {"explanation_id": made.id, "run_id": of_twin.id, "value": None if score.value is None else score.value - 0.1}
                    session.add(ScoreRow(**values(score) | lower))
            shown = {"run_id": of_twin.id, "explanation_id": made and made.id, "label": made and made.text}
            session.add(FeatureRow(**values(row) | shown | {"score": None if row.score is None else row.score - 0.1}))
    yield engine
    with transaction(engine) as session:
        session.execute(delete(HealthReportRow))
        session.execute(delete(JobRow).where(JobRow.id == JOB))
        of = select(RunRow.id).join(DictionaryRow, DictionaryRow.id == RunRow.dictionary_id).where(DictionaryRow.name == TWIN)
        for table in (ScoreRow, ExplanationRow, FeatureRow):
            session.execute(delete(table).where(table.run_id.in_(of)))
        session.execute(delete(RunRow).where(RunRow.id.in_(of)))
        session.execute(delete(DictionaryRow).where(DictionaryRow.name == TWIN))
    engine.dispose()


def run_ids(engine: Engine) -> tuple[int, int]:
    with transaction(engine) as session:
        statement = select(DictionaryRow.name, RunRow.id).join(RunRow, RunRow.dictionary_id == DictionaryRow.id)
        found = dict(map(tuple, session.execute(statement)))
    return found[NAME], found[TWIN]


def test_partners_of_two_dictionaries_are_drawn_with_their_intervals(desk: Watched, phone: Watched, twin: Engine) -> None:
    partners = [[feature, (feature + 1) % 10, 0.9] for feature in range(10)]
    of_own, _ = run_ids(twin)
    with transaction(twin) as session:
        report = {"matching": {"pairs": [{"other": TWIN, "n_partners": 10, "partners": partners}]}}
        health_reports.save(session, of_own, JOB, report)
    for watched, first, second in ((desk, NAME, TWIN), (phone, TWIN, NAME)):
        page = watched.open(f"/compare?dictionary={first}&against={second}")
        drawing = page.get_by_role("img", name="Listed score of each pair")
        expect(drawing).to_be_visible()
        # One of the ten features with a score has none that is defined, on either side.
        assert drawing.locator("circle").count() == 8
        assert drawing.locator(".interval").count() > 0
        expect(page.get_by_text("8 of 10 pairs")).to_be_visible()
        expect(page.get_by_text("Their mean difference is refused")).to_be_visible()
        expect(page.get_by_text("<i>twin</i> of 7", exact=True)).to_be_visible()
        # Feature 9 of 16 with two sides.
        expect(page.get_by_role("link", name="1-", exact=True)).to_have_attribute("href", f"/dictionaries/{TWIN}/features/1-")
        watched.check_accessibility()
        watched.check_width()


def test_every_nth_feature_with_a_score_is_read(server: Service, twin: Engine) -> None:
    of_own, _ = run_ids(twin)
    with transaction(twin) as session:
        scored = scored_features(session, of_own, 100)
        assert scored != list(range(len(scored))), "some feature between has none"
        for most in range(1, len(scored) + 2):
            assert scored_features(session, of_own, most) == scored[:: -(-len(scored) // most)]


def test_a_random_control_pairs_by_index(desk: Watched, twin: Engine) -> None:
    own = {"source": "weights/trained", "hook_point": "blocks.1.hook_resid_post"}
    both = JobSpec.model_validate(
        {"subject": {"model": "toy"}, "dictionary": own, "corpus": {"path": "texts"}, "controls": ["random_dictionary"]}
    ).with_random_dictionaries()
    assert both.random_pairs() == [(0, 1)]
    of_both = run_ids(twin)
    with transaction(twin) as session:
        session.add(JobRow(id=JOB, status="completed", spec=both.model_dump(mode="json"), request_digest="r" * 64, created_at=datetime.now(UTC)))
        session.flush()
        session.add_all([JobRunRow(job_id=JOB, place=place, run_id=run_id) for place, run_id in enumerate(of_both)])
    page = desk.open(f"/compare?dictionary={NAME}&against={TWIN}")
    expect(page.get_by_text("fires as often")).to_be_visible()
    expect(page.get_by_text("0.100 [+0.100, +0.100]")).to_be_visible()


def test_two_dictionaries_without_partners_say_how_to_get_some(desk: Watched, twin: Engine) -> None:
    page = desk.open(f"/compare?dictionary={NAME}&against={TWIN}")
    expect(page.get_by_text("finds partners by their decoders")).to_be_visible()


def test_two_explainers_are_drawn_and_their_largest_differences_listed(desk: Watched, phone: Watched, rivals: Engine) -> None:
    page = desk.open(f"/compare?dictionary={NAME}")
    expect(page.get_by_role("region", name="Explainers by detection").get_by_role("row", name=OTHER)).to_be_visible()
    page.get_by_role("link", name="−").first.click()
    page.wait_for_url("**pair=0*")
    drawing = page.get_by_role("img", name="On the line both are equal")
    expect(drawing).to_be_visible()
    rows = page.get_by_role("region", name="Largest differences").get_by_role("row")
    assert drawing.locator("circle").count() == rows.count() - 1 > 2
    expect(page.get_by_text("<i>rival</i> of 7", exact=True)).to_be_visible()
    desk.check_accessibility()
    narrow = phone.open(f"/compare?dictionary={NAME}&division=0&pair=0")
    expect(narrow.get_by_role("img", name="On the line both are equal")).to_be_visible()
    phone.check_width()
    phone.check_accessibility()


def test_pairs_are_those_of_both_explainers_by_difference(rivals: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analysis, "MOST_SAMPLED", 4)
    monkeypatch.setattr(analysis, "MOST_LARGEST", 3)
    with snapshot(rivals) as session:
        of = league.of_run(session, NAME, None)
        rows = session.execute(
            select(
                ExplanationRow.feature, ExplanationRow.explainer, ExplanationRow.text, ScoreRow.scorer, ScoreRow.value, ScoreRow.low, ScoreRow.high
            )
            .join(ScoreRow)
            .where(ScoreRow.value.is_not(None), ExplanationRow.run_id == of.run.id)
        ).all()
        assert of.table.divisions
        for division in of.table.divisions:
            for difference in division.differences:
                sides = [
                    {row.feature: row for row in rows if row.scorer == division.scorer[0] and row.explainer == key[0]}
                    for key in (difference.first, difference.second)
                ]
                both = sorted(sides[0].keys() & sides[1].keys())
                found = pairs(session, of, division.scorer, difference)
                assert found.total == len(both) > 3
                assert [one.feature for one in found.points] == both[:: found.step] and len(found.points) <= 4
                far = sorted(both, key=lambda feature: (-abs(sides[0][feature].value - sides[1][feature].value), feature))
                assert [one.feature for one in found.largest] == far[:3]
                for one in found.largest:
                    first, second = (side[one.feature] for side in sides)
                    assert (one.first, one.first_low, one.first_high, one.first_label) == (first.value, first.low, first.high, first.text)
                    assert (one.second, one.second_low, one.second_high, one.second_label) == (second.value, second.low, second.high, second.text)


def test_what_cannot_be_compared_is_said(desk: Watched) -> None:
    page = desk.open(f"/compare?dictionary={NAME}")
    expect(page.get_by_text("Only one explainer")).to_be_visible()
    expect(page.get_by_text("has no health report")).to_be_visible()
    page = desk.open(f"/compare?dictionary={NAME}&against={NAME}")
    expect(page.get_by_text("has no health report")).to_be_visible()
    desk.expected = {404}
    page = desk.open("/compare?dictionary=nobody")
    expect(page.get_by_text("nobody")).to_be_visible()


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"dictionary": NAME, "division": "999", "pair": "9999"}, 200),
        ({"dictionary": NAME, "division": "-1"}, 422),
        ({"dictionary": NAME, "pair": str(10**30)}, 422),
        ({"dictionary": "a\0b"}, 422),
        ({"dictionary": "x" * 300}, 422),
        ({"dictionary": NAME, "against": "\ud800".encode("utf-8", "surrogatepass").decode("latin-1")}, 404),
        ({"dictionary": NAME, "run": "no such run"}, 422),
        ({"dictionary": NAME, "run": "9"}, 404),
        ({"dictionary": NAME, "pairs": "1"}, 422),
    ],
)
def test_any_query_is_answered_or_refused(server: Service, query: dict[str, str], status: int) -> None:
    assert httpx.get(f"{server.url}/compare", params=query, headers={"Accept": "text/html"}).status_code == status
