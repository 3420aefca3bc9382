"""One history for both dialects: up from nothing, as the tables say, and down again."""

import threading
from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, func, insert, inspect, make_url, select, update

from interp.domain.access import Scope
from interp.domain.errors import DatabaseUnfitError
from interp.domain.explanation import ExplanationFamily
from interp.domain.lifecycle import JobStatus, Stage
from interp.files.evidence_codec import encode_evidence
from interp.planning.plan import ChunkPlan
from interp.search.words import parse
from interp.store import migrate
from interp.store.access import keys, quotas
from interp.store.db.dialect import now
from interp.store.db.engine import make_engine, snapshot, transaction
from interp.store.db.revision import FOLDER, head, is_current, known
from interp.store.db.tables import (
    Base,
    ChunkRow,
    DictionaryRow,
    EvidenceRow,
    ExplanationRow,
    FairShareRow,
    FeatureRow,
    JobRow,
    JobRunRow,
    LlmBudgetRow,
    RunRow,
    ScoreItemsRow,
    ScoreRow,
    StageCountRow,
)
from interp.store.listings import search
from interp.store.listings.search import SearchQuery
from interp.store.queue import jobs
from interp.store.results import dictionary_scores, evidence, explanations, runs
from tests import databases
from tests.api import synthetic
from tests.store import steps

# Tables whose rows had a foreign key of their own to the dictionary once.
IMPLIED = ("features", "explanations", "scores")


def test_the_head_is_what_the_tables_say(database_url: str) -> None:
    engine = make_engine(database_url)
    assert is_current(engine)
    assert databases.differences(engine) == []
    engine.dispose()


def test_the_head_is_told_as_alembic_tells_it() -> None:
    assert head() == ScriptDirectory(str(FOLDER)).get_current_head()


def test_down_and_up_again(database_url: str) -> None:
    migrate.downgrade(database_url, "base")
    engine = make_engine(database_url)
    assert not is_current(engine)
    assert set(inspect(engine).get_table_names()) <= {"alembic_version"}
    migrate.upgrade(database_url)
    assert {table.name for table in Base.metadata.sorted_tables} <= set(inspect(engine).get_table_names())
    engine.dispose()


def test_back_to_the_first_tables_keeps_their_rows(engine: Engine, database_url: str) -> None:
    job_id = steps.running(engine, ChunkPlan(Stage.EXPLAIN, 0, 4))
    engine.dispose()
    migrate.downgrade(database_url, "0001")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT status FROM jobs").scalar_one() == "running"
        assert connection.exec_driver_sql("SELECT count(*) FROM chunks").scalar_one() == 2
    assert not {"llm_calls", "llm_budgets"} & set(inspect(engine).get_table_names())
    engine.dispose()
    migrate.upgrade(database_url)
    assert steps.look(engine, job_id).status == "running"


def test_implied_keys_go_on_postgresql_and_come_back_with_every_row_kept(database_url: str) -> None:
    engine = make_engine(database_url)
    synthetic.fill(engine)
    is_postgresql = engine.dialect.name == "postgresql"
    before = _counts(engine)
    for revision, is_asked in (("head", False), ("0008", not is_postgresql), ("0005", True)):
        if revision != "head":
            migrate.downgrade(database_url, revision)
        assert {"dictionaries" in _asked_by(engine, table) for table in IMPLIED} == {is_asked}
    migrate.upgrade(database_url)
    assert _counts(engine) == before
    assert min(before.values()) > 0
    engine.dispose()


def _asked_by(engine: Engine, table: str) -> set[str]:
    """The tables that foreign keys of this one lead to."""
    return {key["referred_table"] for key in inspect(engine).get_foreign_keys(table)}


def _counts(engine: Engine) -> dict[str, int]:
    with engine.connect() as connection:
        return {table: connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one() for table in (*IMPLIED, "score_items")}


def test_features_of_before_fire_above_zero(engine: Engine, database_url: str) -> None:
    synthetic.fill(engine)
    assert _levels(engine) == {index: synthetic.LEVELS.get(index, 0.0) for index in range(synthetic.FEATURES)}
    engine.dispose()
    migrate.downgrade(database_url, "0012")
    migrate.upgrade(database_url)
    assert _levels(engine) == dict.fromkeys(range(synthetic.FEATURES), 0.0)
    engine.dispose()


def _levels(engine: Engine) -> dict[int, float]:
    with snapshot(engine) as session:
        return dict(session.execute(select(FeatureRow.feature, FeatureRow.firing_level)).all())


def test_differences_are_seen(database_url: str) -> None:
    engine = make_engine(database_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP INDEX ix_chunks_lease")
    try:
        assert [difference[0] for difference in databases.differences(engine)] == ["add_index"]
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE INDEX ix_chunks_lease ON chunks (status, lease_expires_at)")
        engine.dispose()


def test_several_processes_may_upgrade_at_once(database_url: str) -> None:
    migrate.downgrade(database_url, "base")
    errors: list[BaseException] = []

    def upgrade() -> None:
        try:
            migrate.upgrade(database_url)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=upgrade) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_that_cannot_keep_every_text_is_refused(postgres_url: str, encoding: str) -> None:
    name = f"glossator_{encoding.lower()}"
    admin = make_engine(postgres_url).execution_options(isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
        try:
            with pytest.raises(DatabaseUnfitError, match=name) as refused:
                migrate.upgrade(make_url(postgres_url).set(database=name).render_as_string(hide_password=False))
            assert encoding in str(refused.value.why)
            assert "UTF8" in str(refused.value.cure)
        finally:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    admin.dispose()


def test_one_linear_history() -> None:
    revisions = sorted(Path(migrate.FOLDER / "versions").glob("0*.py"))
    assert revisions
    pytest.importorskip("alembic")
    from alembic.script import ScriptDirectory

    script = ScriptDirectory(str(migrate.FOLDER))
    assert len(script.get_heads()) == 1
    assert [revision.down_revision for revision in script.walk_revisions()][-1] is None
    assert not any(isinstance(revision.down_revision, tuple) for revision in script.walk_revisions())


def two_runs(engine: Engine) -> None:
    """The synthetic results, whose job has completed, and a newer run.

    That is of the same dictionary, with features of its own and no finished job.
    """
    synthetic.fill(engine)
    job_id = steps.submit(engine)
    with transaction(engine) as session:
        first = session.scalars(select(RunRow).where(RunRow.digest == synthetic.RUN)).one()
        jobs.attach(session, job_id, [(first.dictionary_id, first.id)], 10)
        session.execute(update(JobRow).where(JobRow.id == job_id).values(status="completed", finished_at=now(session)))
        second = runs.save(session, "f" * 64, first.dictionary_id, {"seed": 1}, {"documents": 2}, 400)
        gathered = [synthetic.feature_evidence(index) for index in (2, 3, 13)]
        evidence.save(session, second, [evidence.Gathered(item.feature, item.statistics, encode_evidence(item)) for item in gathered])
        explanations.save(session, ExplanationFamily(second, "pattern", "p" * 64), [synthetic.explanation(2)], "j")
        made = session.scalars(select(ExplanationRow.id).where(ExplanationRow.run_id == second)).one()
        dictionary_scores.show_best(session, second, [dictionary_scores.BestExplanation(2, made, synthetic.explanation(2).text)])


def results_by_run(engine: Engine) -> dict[str, list[Any]]:
    """All results, under the digest of their run; what a listing shows beside."""
    listed = (FeatureRow.feature, FeatureRow.state, FeatureRow.density, FeatureRow.label, FeatureRow.score, FeatureRow.lift, FeatureRow.q_value)
    with snapshot(engine) as session:
        of_run = (RunRow.digest, RunRow.number, RunRow.tokens, RunRow.covered_features)

        def rows(table: Any, *columns: Any) -> list[Any]:
            statement = select(RunRow.digest, *columns).join(table, table.run_id == RunRow.id)
            return sorted(tuple(row) for row in session.execute(statement))

        return {
            "runs": sorted(tuple(row) for row in session.execute(select(*of_run, RunRow.completed_at.is_(None)))),
            "evidence": rows(EvidenceRow, EvidenceRow.feature, EvidenceRow.blob),
            "explanations": rows(ExplanationRow, ExplanationRow.id, ExplanationRow.feature, ExplanationRow.explainer, ExplanationRow.settings_digest),
            "scores": rows(ScoreRow, ScoreRow.id, ScoreRow.feature, ScoreRow.scorer, ScoreRow.explanation_id),
            "features": sorted(
                (tuple(row) for row in session.execute(select(RunRow.digest, *listed).join(FeatureRow, FeatureRow.run_id == RunRow.id))), key=repr
            ),
            "items": [tuple(row) for row in session.execute(select(ScoreItemsRow.score_id, ScoreItemsRow.blob).order_by(ScoreItemsRow.score_id))],
            "jobs": rows(JobRow, JobRow.id),
            "runs of jobs": rows(JobRunRow, JobRunRow.job_id, JobRunRow.place),
        }


EARLIER = sorted(known())[:-1]
REASON = {"code": "budget-reached", "detail": "The cap of 9 calls is reached."}


def renamed_values(engine: Engine) -> dict[str, Any]:
    """What columns hold that 0014 renames, of those that every revision has."""
    with snapshot(engine) as session:
        return {
            "jobs": sorted((row.status, str(row.error), str(row.pause_reason)) for row in session.scalars(select(JobRow))),
            "chunks": sorted(str(moment) for moment in session.scalars(select(ChunkRow.notified_at))),
            "dictionaries": [tuple(row) for row in session.execute(select(DictionaryRow.d_in, DictionaryRow.n_features))],
            "scores": list(session.scalars(select(ScoreRow.shrunken_value).order_by(ScoreRow.id))),
            "features": list(session.scalars(select(FeatureRow.shrunken_score).order_by(FeatureRow.run_id, FeatureRow.feature))),
            "shares": sorted((row.job_id, row.queue) for row in session.scalars(select(FairShareRow))),
        }


def rows_to_rename(engine: Engine) -> None:
    """Beside results: a paused, a failed and a cancelled job, and a notified chunk."""
    problems = {JobStatus.PAUSED: {"pause_reason": REASON}, JobStatus.FAILED: {"error": {"code": "internal"}}, JobStatus.CANCELLED: {}}
    for status, columns in problems.items():
        job_id = steps.submit(engine)
        with transaction(engine) as session:
            session.execute(update(JobRow).where(JobRow.id == job_id).values(status=status, **columns))
    with transaction(engine) as session:
        session.execute(update(ChunkRow).where(ChunkRow.job_id == job_id).values(notified_at=now(session)))
        session.execute(update(ScoreRow).values(shrunken_value=0.25))


@pytest.mark.parametrize("revision", EARLIER)
def test_every_row_and_value_comes_back_from_each_earlier_revision(engine: Engine, database_url: str, revision: str) -> None:
    """Before 0009 listings held a dictionary's newest evidence alone.

    An older run's rows are made of evidence, explanations and scores."""
    two_runs(engine)
    rows_to_rename(engine)
    by_run, renamed = results_by_run(engine), renamed_values(engine)
    engine.dispose()
    migrate.downgrade(database_url, revision)
    if revision < "0009":
        with engine.connect() as connection:
            kept = connection.exec_driver_sql("SELECT count(*) FROM features").scalar_one()
        assert kept == 13, "twelve features and one more, whose newest rows stand"
    engine.dispose()
    migrate.upgrade(database_url)
    after = renamed_values(engine)
    if revision < "0009":
        # The unfinished run was covered by three; of what is counted when a job completes, an older database knows nothing.
        by_run["runs"] = [
            (digest, number, tokens, 12 if digest == synthetic.RUN else 3, unfinished) for digest, number, tokens, _, unfinished in by_run["runs"]
        ]
        # A listing is made anew from scores then, and scores hold other values than the synthetic listing.
        del renamed["features"], after["features"]
    if revision < "0002":
        renamed["scores"] = [None] * len(renamed["scores"])
    assert after == renamed
    assert results_by_run(engine) == by_run
    assert databases.differences(engine) == []
    engine.dispose()


def test_0014_keeps_sums_and_times_and_tells_a_pause_from_an_error(engine: Engine, database_url: str) -> None:
    synthetic.fill(engine)
    rows_to_rename(engine)
    with transaction(engine) as session:
        session.execute(update(JobRow).values(inactive_seconds=1.5))
        session.execute(update(StageCountRow).values(inactive_seconds=2.5))
        session.execute(update(FairShareRow).values(last_claimed_at=now(session)))
        session.execute(update(LlmBudgetRow).values(cap_picodollars=1, spent_picodollars=2, reserved_picodollars=3, unsettled_picodollars=4))
    claimed = select(FairShareRow.job_id, FairShareRow.last_claimed_at).order_by(FairShareRow.job_id)
    with snapshot(engine) as session:
        before = session.execute(claimed).all()
    engine.dispose()
    migrate.downgrade(database_url, "0013")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT min(served_at) IS NOT NULL, count(*) > 0 FROM turns").one() == (True, True)
        paused = connection.exec_driver_sql("SELECT error FROM jobs WHERE status = 'paused'").scalar_one()
        assert "budget-reached" in str(paused)
        # A job that was cancelled while it was paused kept the reason of its pause as its error.
        connection.exec_driver_sql("UPDATE jobs SET error = '{\"code\": \"key-refused\"}' WHERE status = 'cancelled'")
        connection.commit()
    engine.dispose()
    migrate.upgrade(database_url)
    with snapshot(engine) as session:
        assert set(session.scalars(select(JobRow.inactive_seconds))) == {1.5}
        assert set(session.scalars(select(StageCountRow.inactive_seconds))) == {2.5}
        sums = (LlmBudgetRow.cap_picodollars, LlmBudgetRow.spent_picodollars, LlmBudgetRow.reserved_picodollars, LlmBudgetRow.unsettled_picodollars)
        assert {tuple(row) for row in session.execute(select(*sums))} == {(1, 2, 3, 4)}
        assert session.execute(claimed).all() == before
        problems = {row.status: (row.error, row.pause_reason) for row in session.scalars(select(JobRow))}
    assert problems == {"paused": (None, REASON), "failed": ({"code": "internal"}, None), "cancelled": (None, {"code": "key-refused"})}
    engine.dispose()


def test_jobs_of_before_0022_count_for_no_key(engine: Engine, database_url: str) -> None:
    job_id = steps.submit(engine)
    with transaction(engine) as session:
        key_id = keys.create(session, "alice", [Scope.SUBMIT], "test").row.id
    engine.dispose()
    migrate.downgrade(database_url, "0021")
    migrate.upgrade(database_url)
    assert databases.differences(engine) == []
    with transaction(engine) as session:
        assert quotas.hold_of(session, job_id) is None
        assert (quotas.usage_of(session, key_id).jobs, quotas.quota_of(session, key_id)) == (0, quotas.Quota())
    engine.dispose()


def test_jobs_of_before_0020_have_no_owner_and_their_service_no_key(engine: Engine, database_url: str) -> None:
    job_id = steps.submit(engine, key="of before")
    engine.dispose()
    migrate.downgrade(database_url, "0019")
    migrate.upgrade(database_url)
    assert databases.differences(engine) == []
    with snapshot(engine) as session:
        assert session.scalars(select(JobRow.owner)).all() == [None]
        known = jobs.submitted(session, steps.SPEC, "of before")
        assert known is not None and known.id == job_id
        assert not keys.any_exists(session)
    engine.dispose()


def test_labels_listed_before_0024_are_found_afterwards(engine: Engine, database_url: str) -> None:
    synthetic.fill(engine)
    engine.dispose()
    migrate.downgrade(database_url, "0023")
    migrate.upgrade(database_url)
    assert databases.differences(engine) == []
    with snapshot(engine) as session:
        found = search.by_words(session, SearchQuery(runs=(1,)), parse('"self 4"'), few=True)
        assert found.keys == ((1, 4),)
        listed = select(func.count()).select_from(FeatureRow).where(FeatureRow.label.is_not(None), FeatureRow.label_id.is_(None))
        assert session.execute(listed).scalar_one() == 0
    engine.dispose()


def test_listings_of_before_0032_show_p_values_and_explainers(engine: Engine, database_url: str) -> None:
    """Of two scores by one scorer the listed one gives the p value."""
    synthetic.fill(engine)
    figures = ("value", "lift", "q_value", "shrunken_value")
    with transaction(engine) as session:
        session.execute(update(ScoreRow).values(p_value=0.25, q_value=0.5, lift=None, shrunken_value=0.125))
        score = session.scalars(select(ScoreRow).where(ScoreRow.value.is_not(None)).order_by(ScoreRow.id)).first()
        assert score is not None
        copied = {column.name: getattr(score, column.name) for column in ScoreRow.__table__.c if column.name != "id"}
        session.execute(insert(ScoreRow).values(copied | {"settings_digest": "other", "q_value": 0.75, "p_value": 0.5}))
        shown = {"value": 0.5, "lift": None, "q_value": 0.75, "shrunken_value": 0.125} | {"value": score.value}
        listed = dict(zip(("score", "lift", "q_value", "shrunken_score"), (shown[name] for name in figures), strict=True))
        row = {"explanation_id": score.explanation_id, "scorer": score.scorer, "explainer": None, "p_value": None}
        session.execute(update(FeatureRow).where(FeatureRow.feature == score.feature).values(listed | row))
        feature = score.feature
    engine.dispose()
    migrate.downgrade(database_url, "0031")
    migrate.upgrade(database_url)
    assert databases.differences(engine) == []
    with snapshot(engine) as session:
        of = {row.feature: row for row in session.scalars(select(FeatureRow))}
        assert (of[feature].p_value, of[feature].explainer) == (0.5, "pattern")
        made = dict(session.execute(select(ExplanationRow.id, ExplanationRow.explainer)).all())
        assert {row.explainer for row in of.values() if row.explanation_id is None} <= {None}
        assert all(row.explainer == made[row.explanation_id] for row in of.values() if row.explanation_id is not None)
        assert all(row.p_value is None for row in of.values() if row.score is None)
    engine.dispose()
