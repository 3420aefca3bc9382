"""The chunk that ends a job writes what the definition says, or nothing.

A second time it comes to the same.
"""

from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, delete, insert, select, update

from interp.analysis import updates
from interp.config.settings import Settings
from interp.domain.explanation import ExplanationFamily
from interp.domain.lifecycle import Queue, Stage
from interp.domain.spec import ExplainerSpec, ModelSpec, ModelsSpec, ScorerSpec
from interp.domain.vocabulary import Vocabulary
from interp.planning.plan import ChunkPlan
from interp.planning.settings_digest import family_of, planned_scorer
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import EvidenceRow, ExplanationRow, FeatureRow, ScoreRow
from interp.store.results import dictionaries, dictionary_scores, runs
from interp.store.results.dictionary_scores import BestExplanation
from tests.api import synthetic
from tests.store import steps
from tests.workers import plain_figures as plain
from tests.workers.plain_figures import Figure
from workers.runtime import Runtime, Work
from workers.tasks.summarise import speeds, summarise

FEATURES, MOMENT = 60, datetime(2026, 1, 1, tzinfo=UTC)
JUDGE = ModelSpec(model="some-model", base_url="https://example.org/v1")
SPEC = steps.SPEC.model_copy(
    update={
        "features": "0-40",
        "explainers": (ExplainerSpec(name="contexts"), ExplainerSpec(name="pattern")),
        "scorers": (ScorerSpec(name="fuzz", judge="llm"), ScorerSpec(name="detection", judge="executable")),
        "models": ModelsSpec(explainer=JUDGE, judge=JUDGE),
    }
)
EXPLANATION_COLUMNS = ("explanation_id", "label", "scorer", "score", "lift", "q_value", "shrunken_score", "p_value")


class ScoredRun:
    """A dictionary explained and scored at random, and the work to summarise it."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine = engine
        with transaction(engine) as session:
            dictionaries.save_subject(session, "s" * 64, "toy", {}, Vocabulary((b"a",), frozenset()))
            kinds: dict[str, Any] = {"hook_point": "h", "architecture": "jumprelu", "d_in": 4, "config": {}}
            dictionary_id = dictionaries.save_dictionary(session, "s" * 64, name="toy@0", digest="d" * 64, n_features=FEATURES, **kinds)
            self.run = runs.save(session, "e" * 64, dictionary_id, {}, {}, 1000)
        self.densities = plain.random_densities(1, FEATURES)
        self.families = [family_of(SPEC, explainer, self.run) for explainer in SPEC.explainers]
        self.explained = self._explain()
        self.figures = {scorer.name: self._score(scorer, seed) for seed, scorer in enumerate(SPEC.scorers)}
        with transaction(engine) as session:
            rows = [{"run_id": self.run, "feature": feature, "density": density, "blob": b""} for feature, density in self.densities.items()]
            session.execute(insert(EvidenceRow), rows)
        listed = {"explanation_id": None, "shrunken_score": None}
        synthetic.add_features(engine, [synthetic.feature_row(self.run, feature, **listed) for feature in range(FEATURES)])
        steps.submit(engine, SPEC)
        lease = steps.take(engine, Queue.GPU)
        self.work = Work(Runtime.of(settings), lease, SPEC, [self.run], lambda _: None)

    def summarise(self) -> dict[str, Any]:
        outcome = summarise(self.work)
        with transaction(self.engine) as session:
            found = outcome.write(session)
        assert found is not None
        return found

    def rows(self) -> dict[str, list[Any]]:
        """Everything that a summary writes to."""
        with snapshot(self.engine) as session:
            scores = session.execute(
                select(ScoreRow.id, ScoreRow.p_value, ScoreRow.q_value, ScoreRow.shrunken_value, ScoreRow.null_reason).order_by(ScoreRow.id)
            ).all()
            columns = [FeatureRow.__table__.c[name] for name in ("feature", *EXPLANATION_COLUMNS)]
            return {
                "scores": [tuple(row) for row in scores],
                "features": [tuple(row) for row in session.execute(select(*columns).order_by("feature"))],
            }

    def _explain(self) -> dict[ExplanationFamily, dict[int, tuple[int, str]]]:
        """Explain two features of three by the first family, one more by the second.

        Every seventh label could not be had.
        """
        found: dict[ExplanationFamily, dict[int, tuple[int, str]]] = {family: {} for family in self.families}
        with transaction(self.engine) as session:
            for feature in range(FEATURES):
                for place, family in enumerate(self.families):
                    if feature % 3 != place:
                        text = None if feature % 7 == 0 else f"label {feature} {place}"
                        shared = {"run_id": self.run, "created_at": MOMENT, "provenance": {}}
                        row = {"feature": feature, "explainer": family.explainer, "settings_digest": family.settings_digest, "text": text}
                        made = session.execute(insert(ExplanationRow).values(shared | row).returning(ExplanationRow.id)).scalar_one()
                        if text:
                            found[family][feature] = (made, text)
        return found

    def _score(self, scorer: ScorerSpec, seed: int) -> list[Figure]:
        """Figures of most of the explanations, as they are written."""
        drawn = iter(plain.random_figures(seed, 3 * FEATURES))
        made = sorted((feature, row, family, text) for family, some in self.explained.items() for feature, (row, text) in some.items())
        found: list[Figure] = []
        digest = planned_scorer(SPEC, scorer).digest
        with transaction(self.engine) as session:
            for feature, explanation, family, text in made:
                if feature % 5 == seed:
                    continue
                figure = replace(
                    next(drawn), feature=feature, explanation_id=explanation, family=(family.explainer, family.settings_digest), label=text
                )
                names = (
                    "feature",
                    "explanation_id",
                    "metric",
                    "value",
                    "lift",
                    "p_value",
                    "q_value",
                    "low",
                    "high",
                    "null_reason",
                    "shrunken_value",
                    "p_method",
                    "p_paired",
                )
                row = {name: getattr(figure, name) for name in names} | {"scorer": scorer.name, "settings_digest": digest}
                row |= {"null_values": list(figure.null_values), "controls": list(figure.controls), "run_id": self.run}
                row |= {"answered": 1, "failed": 0, "abstained": 0, "details": {}, "created_at": MOMENT}
                found.append(replace(figure, id=session.execute(insert(ScoreRow).values(row).returning(ScoreRow.id)).scalar_one()))
        return found


@pytest.fixture
def scored(engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScoredRun]:
    """Portions are of a few rows."""
    for module in (dictionary_scores, updates):
        monkeypatch.setattr(module, "PORTION", 7)
    made = ScoredRun(engine, settings)
    yield made
    made.work.runtime.engine.dispose()


def expected(scored: ScoredRun) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Figures and rows by the definition."""
    asked = [(0, 41)]
    judged = {name: plain.concluded(scored.figures[name], scored.densities) for name in ("fuzz", "detection")}
    labels = [(feature, row, text) for some in scored.explained.values() for feature, (row, text) in some.items()]
    listed = {feature: BestExplanation(feature, None, None) for feature in range(FEATURES)}  # type: ignore[arg-type]
    listed |= {item.feature: item for item in plain.best_of(judged, labels)}
    scores = sorted((item.id, item.p_value, item.q_value, item.shrunken_value, item.null_reason) for items in judged.values() for item in items)
    figures = {name: plain.figures_of([item for item in items if plain.is_within(item.feature, asked)]) for name, items in judged.items()}
    return figures, {"scores": scores, "features": [tuple(asdict(item).values()) for item in listed.values()]}


def test_it_writes_what_the_definition_says_and_again_the_same(scored: ScoredRun) -> None:
    figures, rows = expected(scored)
    first = scored.summarise()
    assert first["scores"] == figures
    labels = scored.explained[scored.families[1]] | scored.explained[scored.families[0]]
    counts = {"asked": 41, "explained": sum(feature <= 40 for feature in labels), "failed": 0, "active": 41, "rare": 0, "dead": 0}
    assert first["features"] == counts
    assert scored.rows() == rows
    again = scored.summarise()
    assert (again["scores"], scored.rows()) == (figures, rows)


def test_one_that_dies_while_it_writes_leaves_the_book_as_it_was(scored: ScoredRun, monkeypatch: pytest.MonkeyPatch) -> None:
    before, rows = scored.rows(), expected(scored)[1]
    calls = []

    def labels(*_: Any) -> dict[int, str | None]:
        calls.append(1)
        raise RuntimeError("the worker dies")

    with monkeypatch.context() as patch:
        patch.setattr(dictionary_scores, "labels", labels)
        with pytest.raises(RuntimeError, match="dies"):
            scored.summarise()
    assert calls
    assert scored.rows() == before
    scored.summarise()
    assert scored.rows() == rows


def test_rows_that_say_it_already_are_not_written_again(scored: ScoredRun) -> None:
    if scored.engine.dialect.name != "postgresql":
        pytest.skip("SQLite keeps no versions of a row")
    versions = []
    for _ in range(2):
        scored.summarise()
        with scored.engine.connect() as connection:
            statement = "SELECT 's', id, xmin::text FROM scores UNION ALL SELECT 'f', feature, xmin::text FROM features ORDER BY 1, 2"
            versions.append(connection.exec_driver_sql(statement).all())
    assert versions[0] == versions[1]


def test_a_job_without_scorers_shows_the_oldest_labels(scored: ScoredRun) -> None:
    with transaction(scored.engine) as session:
        session.execute(delete(ScoreRow))
    scored.work = replace(scored.work, job=SPEC.model_copy(update={"scorers": ()}))
    assert scored.summarise()["scores"] == {}
    labels = [(feature, row, text) for some in scored.explained.values() for feature, (row, text) in some.items()]
    shown = {item.feature: item for item in plain.best_of({}, labels)}
    assert [row[1:3] for row in scored.rows()["features"]] == [
        (shown[feature].explanation_id, shown[feature].label) if feature in shown else (None, None) for feature in range(FEATURES)
    ]


@pytest.mark.parametrize("scorers", [(), SPEC.scorers[:1], SPEC.scorers[1:]], ids=["none", "fuzz", "detection"])
def test_a_job_with_fewer_scorers_leaves_the_best_of_the_run_as_it_is(scored: ScoredRun, scorers: tuple[ScorerSpec, ...]) -> None:
    """What it does not score itself was scored by another job."""
    scored.summarise()
    rows = scored.rows()
    scored.work = replace(scored.work, job=SPEC.model_copy(update={"scorers": scorers}))
    scored.summarise()
    assert scored.rows() == rows


def test_a_worse_explanation_that_comes_later_takes_no_label(scored: ScoredRun) -> None:
    """Of an explainer whose one score is a weak detection, without a lift."""
    scored.summarise()
    before = {row[0]: row for row in scored.rows()["features"]}
    detected = [feature for feature, row in before.items() if row[3] == "detection"]
    with transaction(scored.engine) as session:
        for feature in detected:
            shared = {"run_id": scored.run, "created_at": MOMENT, "provenance": {}, "explainer": "weaker", "settings_digest": "w"}
            made = session.execute(
                insert(ExplanationRow).values(shared | {"feature": feature, "text": "weak"}).returning(ExplanationRow.id)
            ).scalar_one()
            row = {"explanation_id": made, "run_id": scored.run, "feature": feature, "scorer": "detection", "settings_digest": "other", "metric": "m"}
            session.execute(insert(ScoreRow).values(**row, value=-1.0, answered=1, failed=0, abstained=0, details={}, created_at=MOMENT))
    scored.summarise()
    assert len(detected) > 10
    assert {row[0]: row for row in scored.rows()["features"]} == before


def test_two_summaries_of_a_run_end_the_same_whichever_is_written_last(scored: ScoredRun) -> None:
    first = summarise(scored.work)
    with transaction(scored.engine) as session:
        session.execute(update(ScoreRow).where(ScoreRow.feature % 2 == 0).values(value=0.99))
    second = summarise(scored.work)
    with transaction(scored.engine) as session:
        second.write(session)
    rows = scored.rows()
    with transaction(scored.engine) as session:
        first.write(session)
    assert scored.rows() == rows


def test_a_pause_after_all_other_stages_is_no_time_of_work(engine: Engine) -> None:
    """Only the summary was left to make when the job rested for an hour."""
    began = MOMENT - timedelta(hours=1, seconds=20)
    job_id = steps.running(engine, ChunkPlan(Stage.SCORE, 0, 4), ChunkPlan(Stage.SUMMARISE, 0, 1, waits_for=Stage.SCORE))
    steps.finish(engine, steps.take(engine, Queue.LLM))
    so_far = replace(steps.look(engine, job_id), started_at=began, inactive_seconds=3600.0)
    so_far = replace(so_far, stages=tuple(replace(stage, finished_at=stage.finished_at and began + timedelta(seconds=10)) for stage in so_far.stages))
    found = speeds(so_far, 1000, MOMENT)
    assert found["total_seconds"] == 20.0
    assert found["features_per_s"] == so_far.request_counts.total / 20
