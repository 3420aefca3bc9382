"""Many rows in one statement leave what the same rows one by one leave, on both databases."""

import threading
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.exc import DataError

from interp.domain.explanation import Explanation as Label
from interp.domain.explanation import ExplanationFamily
from interp.store.db.bulk import update_rows, upsert
from interp.store.db.dialect import now
from interp.store.db.engine import transaction
from interp.store.db.tables import ExplanationRow, FeatureRow, ScoreItemsRow, ScoreRow
from interp.store.db.text import REPLACEMENT
from interp.store.results import dictionary_scores, explanations, scores
from interp.store.results.dictionary_scores import BestExplanation
from interp.store.results.scores import Scored
from tests.api import synthetic

ONE, MANY = 1, 17
sizes = pytest.mark.parametrize("number", [ONE, MANY])


def family_of(engine: Engine) -> ExplanationFamily:
    run_id = synthetic.empty_run(engine, "bulk@0")
    return ExplanationFamily(run_id, "pattern", "p" * 64)


def labels(number: int, text: str) -> list[Label]:
    return [Label(index, "pattern", f"{text} {index}", rule={"version": index}, provenance={"seed": [0, None]}) for index in range(number)]


def rows_of(engine: Engine, table: type[Any], *columns: Any) -> list[Any]:
    with transaction(engine) as session:
        return [tuple(row) for row in session.execute(select(*columns).order_by(table.__table__.c[columns[0].key]))]


@sizes
def test_writing_twice_leaves_one_row_each(engine: Engine, number: int) -> None:
    family = family_of(engine)
    for text in ("a\x00b \ud800", "never over a good one"):
        with transaction(engine) as session:
            explanations.save(session, family, labels(number, text), "j")
    found = rows_of(
        engine, ExplanationRow, ExplanationRow.feature, ExplanationRow.text, ExplanationRow.failure, ExplanationRow.rule, ExplanationRow.provenance
    )
    assert found == [(index, f"a{REPLACEMENT}b ? {index}", None, {"version": index}, {"seed": [0, None]}) for index in range(number)]


@sizes
def test_a_failed_explanation_is_written_over_and_its_scores_go_alone(engine: Engine, number: int) -> None:
    family = family_of(engine)
    first = [replace(label, text=None, failure="refused") if label.feature == 1 else label for label in labels(number, "first")]
    with transaction(engine) as session:
        explanations.save(session, family, first, "j")
        ids = {index: row for index, (row, _) in explanations.load(session, family, [(0, number)]).items()}
        scored = [Scored(row, replace(synthetic.score(1), feature=index), b"items") for index, row in ids.items()]
        scores.save(session, family.run_id, "x" * 64, scored, "j")
    with transaction(engine) as session:
        explanations.save(session, family, labels(number, "second"), "other")
    found = rows_of(
        engine, ExplanationRow, ExplanationRow.feature, ExplanationRow.id, ExplanationRow.text, ExplanationRow.failure, ExplanationRow.job_id
    )
    assert found == [(index, ids[index], "second 1" if index == 1 else f"first {index}", None, "other" if index == 1 else "j") for index in ids]
    assert [feature for (feature,) in rows_of(engine, ScoreRow, ScoreRow.feature)] == [index for index in ids if index != 1]


@sizes
def test_each_score_has_its_own_items_and_those_of_the_last_writing(engine: Engine, number: int) -> None:
    family = family_of(engine)
    with transaction(engine) as session:
        explanations.save(session, family, labels(number, "x"), "j")
        ids = {index: row for index, (row, _) in explanations.load(session, family, [(0, number)]).items()}
    for turn in ("once", "twice"):
        scored = [Scored(row, replace(synthetic.score(1), feature=index), f"{turn} {index}".encode()) for index, row in ids.items()]
        with transaction(engine) as session:
            scores.save(session, family.run_id, "x" * 64, scored, "j")
    with transaction(engine) as session:
        found = session.execute(
            select(ScoreRow.feature, ScoreItemsRow.blob).join(ScoreItemsRow, ScoreItemsRow.score_id == ScoreRow.id).order_by(ScoreRow.feature)
        ).all()
    assert [tuple(row) for row in found] == [(index, f"twice {index}".encode()) for index in range(number)]


@sizes
def test_json_comes_back_as_it_was_but_for_what_cannot_be_stored(engine: Engine, number: int) -> None:
    family = family_of(engine)
    told = {"emoji \U0001f600": ["\\u0000", "ü", "\\ud800", 0.1, 2**60, True, None], "nul \0": {"lone": "\ud800"}}
    with transaction(engine) as session:
        explanations.save(session, family, [Label(index, "pattern", "x", provenance=told) for index in range(number)], "j")
    kept = {"emoji \U0001f600": ["\\u0000", "ü", "\\ud800", 0.1, 2**60, True, None], f"nul {REPLACEMENT}": {"lone": "?"}}
    assert rows_of(engine, ExplanationRow, ExplanationRow.feature, ExplanationRow.provenance) == [(index, kept) for index in range(number)]


def test_text_that_is_too_long_for_its_column_is_refused_and_not_cut(engine: Engine) -> None:
    if engine.dialect.name != "postgresql":
        pytest.skip("SQLite has no lengths")
    family = replace(family_of(engine), explainer="x" * 65)
    with pytest.raises(DataError), transaction(engine) as session:
        explanations.save(session, family, labels(MANY, "x"), "j")


def test_all_rows_of_a_portion_are_of_one_time_and_that_is_the_servers(engine: Engine) -> None:
    family = family_of(engine)
    with transaction(engine) as session:
        before = now(session)
        explanations.save(session, family, labels(MANY, "x"), "j")
        after = now(session)
    moments = {moment for _, moment in rows_of(engine, ExplanationRow, ExplanationRow.feature, ExplanationRow.created_at)}
    assert len(moments) == 1
    assert before <= min(moments) <= after


@sizes
def test_scores_go_over_those_that_are_there_and_keep_their_ids(engine: Engine, number: int) -> None:
    family = family_of(engine)
    with transaction(engine) as session:
        explanations.save(session, family, labels(number, "x"), "j")
        made = explanations.load(session, family, [(0, number)])
    ids = []
    for value in (0.25, 0.75):
        scored = [Scored(row, replace(synthetic.score(1), feature=index, value=value), b"items") for index, (row, _) in made.items()]
        with transaction(engine) as session:
            scores.save(session, family.run_id, "x" * 64, scored, "j")
        ids.append([row for (row,) in rows_of(engine, ScoreRow, ScoreRow.id)])
    assert ids[0] == ids[1]
    assert {value for _, value in rows_of(engine, ScoreRow, ScoreRow.feature, ScoreRow.value)} == {0.75}


@sizes
def test_the_best_is_listed_in_its_own_run_alone(engine: Engine, number: int) -> None:
    run_id, other = synthetic.empty_run(engine, "bulk@0"), synthetic.empty_run(engine, "bulk@1")
    nothing = {"shrunken_score": None, "explanation_id": None}
    synthetic.add_features(engine, [synthetic.feature_row(of, index, **nothing) for of in (run_id, other) for index in range(number)])
    best = [BestExplanation(index, 100 + index, "label", "detection", 0.5, None, 0.01, 0.25) for index in range(number)]
    with transaction(engine) as session:
        dictionary_scores.show_best(session, run_id, best)
    columns = (
        FeatureRow.run_id,
        FeatureRow.feature,
        FeatureRow.explanation_id,
        FeatureRow.label,
        FeatureRow.score,
        FeatureRow.lift,
        FeatureRow.shrunken_score,
    )
    shown = [(run_id, index, 100 + index, "label", 0.5, None, 0.25) for index in range(number)]
    assert sorted(rows_of(engine, FeatureRow, *columns)) == shown + [(other, index, *[None] * 5) for index in range(number)]


def test_what_is_so_already_is_not_written_again(engine: Engine) -> None:
    if engine.dialect.name != "postgresql":
        pytest.skip("SQLite keeps no versions of a row")
    run_id = synthetic.empty_run(engine, "bulk@0")
    synthetic.add_features(engine, [synthetic.feature_row(run_id, index, shrunken_score=None, explanation_id=None) for index in range(MANY)])
    best = [BestExplanation(index, index, "label") for index in range(MANY)]
    versions = []
    for _ in range(2):
        with transaction(engine) as session:
            dictionary_scores.show_best(session, run_id, best)
        with engine.connect() as connection:
            versions.append(connection.exec_driver_sql("SELECT feature, xmin::text FROM features ORDER BY feature").all())
    assert versions[0] == versions[1]


def test_two_writers_of_the_same_rows_wait_for_one_another(engine: Engine) -> None:
    """Both go in the order of the keys, so neither deadlocks: upserts and changes of the same features, over and over."""
    run_id = synthetic.empty_run(engine, "bulk@0")
    rows = [synthetic.feature_row(run_id, index, shrunken_score=None, explanation_id=None) for index in range(300)]
    synthetic.add_features(engine, rows)
    errors: list[BaseException] = []

    def write(number: int) -> None:
        try:
            for turn in range(10):
                with transaction(engine) as session:
                    if number % 2:
                        upsert(session, FeatureRow, [row | {"mean_active": float(turn)} for row in rows], keys=["run_id", "feature"])
                    else:
                        new = [{"run_id": run_id, "feature": index, "label": f"{number} {turn}"} for index in range(300)]
                        update_rows(session, FeatureRow, new, ["run_id", "feature"])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
