"""Two databases compared: equal across dialects, and one row or byte that differs is found and named."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine, delete, select, update
from sqlalchemy.orm import Session

from interp.store.db import comparison
from interp.store.db.comparison import DatabaseSnapshot
from interp.store.db.engine import make_engine, transaction
from interp.store.db.tables import EvidenceRow, ExplanationRow, FeatureRow, JobRow, RunRow, ScoreItemsRow, ScoreRow
from interp.store.queue import jobs
from tests import databases
from tests.api import synthetic
from tests.store import steps

SUMMARY = {"features": {"explained": 10}, "total_seconds": 12.5, "seconds": {"collect": 3.0}}


def filled(engine: Engine, summary: dict[str, Any]) -> DatabaseSnapshot:
    """The synthetic results, and a job that says that it wrote them."""
    synthetic.fill(engine)
    job_id = steps.submit(engine)
    with transaction(engine) as session:
        dictionary_id, run_id = session.execute(select(RunRow.dictionary_id, RunRow.id).where(RunRow.digest == synthetic.RUN)).one()
        jobs.attach(session, job_id, [(dictionary_id, run_id)], 10)
        session.execute(update(JobRow).where(JobRow.id == job_id).values(status="completed", summary=summary))
    return DatabaseSnapshot(engine, job_id)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseSnapshot]:
    """On SQLite, always."""
    url = f"sqlite:///{tmp_path_factory.mktemp('plain') / 'plain.db'}"
    databases.upgrade(url)
    engine = make_engine(url)
    yield filled(engine, SUMMARY)
    engine.dispose()


@pytest.fixture
def other(engine: Engine) -> DatabaseSnapshot:
    """On each dialect, made at another time, with other job and row ids."""
    synthetic.empty_run(engine, "another")
    return filled(engine, SUMMARY | {"total_seconds": 99.0, "tokens_per_s": 7.0})


def unequal(plain: DatabaseSnapshot, other: DatabaseSnapshot) -> dict[str, tuple[int, int, int]]:
    found = comparison.compare(plain, other)
    return {line.what: (line.different, line.only_first, line.only_second) for line in found if not line.is_equal}


def test_the_same_book_is_equal_in_each_dialect(plain: DatabaseSnapshot, other: DatabaseSnapshot) -> None:
    found = comparison.compare(plain, other)
    assert all(line.is_equal for line in found), found
    same = {line.what: line.same for line in found}
    assert same == {"run": 1, "evidence": 12, "explanations": 12, "scores": 10, "items": 10, "listing": 12, "summary": 3}


CHANGES: dict[str, tuple[Callable[[Session], object], dict[str, tuple[int, int, int]]]] = {
    "a byte of evidence": (lambda s: _flip(s, EvidenceRow, EvidenceRow.feature == 3), {"evidence": (1, 0, 0)}),
    "a byte of items": (lambda s: _flip(s, ScoreItemsRow, ScoreItemsRow.score_id == _score(s, 4)), {"items": (1, 0, 0)}),
    "evidence that is missing": (lambda s: s.execute(delete(EvidenceRow).where(EvidenceRow.feature == 5)), {"evidence": (0, 1, 0)}),
    "a label": (lambda s: s.execute(update(ExplanationRow).where(ExplanationRow.feature == 2).values(text="x")), {"explanations": (1, 0, 0)}),
    "a figure's last digit": (
        lambda s: s.execute(update(ScoreRow).where(ScoreRow.feature == 7).values(low=0.6000000000000001)),
        {"scores": (1, 0, 0)},
    ),
    "a score that is missing": (
        lambda s: s.execute(delete(ScoreRow).where(ScoreRow.feature == 9)),
        {"scores": (0, 1, 0), "items": (0, 1, 0)},
    ),
    "a feature's best": (lambda s: s.execute(update(FeatureRow).where(FeatureRow.feature == 1).values(explanation_id=None)), {"listing": (1, 0, 0)}),
    "another explanation": (lambda s: _explain_twice(s), {"explanations": (0, 0, 1)}),
    "the corpus": (lambda s: s.execute(update(RunRow).where(RunRow.digest == synthetic.RUN).values(tokens=1001)), {"run": (1, 0, 0)}),
    "a figure of the summary": (
        lambda s: s.execute(update(JobRow).values(summary=SUMMARY | {"features": {"explained": 9}})),
        {"summary": (1, 0, 0)},
    ),
    "features that failed": (lambda s: s.execute(update(JobRow).values(features_failed=1)), {"summary": (1, 0, 0)}),
    "when it was made": (lambda s: s.execute(update(ExplanationRow).values(created_at=datetime.now(UTC), job_id="k")), {}),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_differs_is_found_and_nothing_else(plain: DatabaseSnapshot, other: DatabaseSnapshot, what: str) -> None:
    change, expected = CHANGES[what]
    with transaction(other.engine) as session:
        change(session)
    assert unequal(plain, other) == expected


def test_examples_name_the_row_and_both_values(plain: DatabaseSnapshot, other: DatabaseSnapshot) -> None:
    with transaction(other.engine) as session:
        session.execute(update(ExplanationRow).where(ExplanationRow.feature == 2).values(text="something else"))
    line = next(line for line in comparison.compare(plain, other) if line.what == "explanations")
    assert line.examples == (f"2 pattern {'p' * 64}: text '100%_self [2]' and 'something else'",)


def test_a_job_alone_in_its_run_is_found_by_its_spec(other: DatabaseSnapshot) -> None:
    assert comparison.sole_job(other.engine, steps.SPEC) == other.job_id
    assert comparison.sole_job(other.engine, steps.SPEC.model_copy(update={"seed": 1})) is None
    with transaction(other.engine) as session:
        session.execute(update(JobRow).values(status="failed"))
    assert comparison.sole_job(other.engine, steps.SPEC) is None


def test_a_job_that_shares_its_run_is_passed_by(other: DatabaseSnapshot) -> None:
    second = steps.submit(other.engine)
    with transaction(other.engine) as session:
        jobs.attach(session, second, [session.execute(select(RunRow.dictionary_id, RunRow.id).where(RunRow.digest == synthetic.RUN)).one()], 10)
    assert comparison.sole_job(other.engine, steps.SPEC) is None


def _flip(session: Session, table: Any, where: Any) -> None:
    blob = session.scalars(select(table.blob).where(where)).one()
    session.execute(update(table).where(where).values(blob=blob[:-1] + bytes([blob[-1] ^ 1])))


def _score(session: Session, feature: int) -> int:
    return session.scalars(select(ScoreRow.id).where(ScoreRow.feature == feature)).one()


def _explain_twice(session: Session) -> None:
    row = session.scalars(select(ExplanationRow).where(ExplanationRow.feature == 0)).one()
    columns = {column.key: getattr(row, column.key) for column in ExplanationRow.__mapper__.column_attrs if column.key != "id"}
    session.add(ExplanationRow(**columns | {"settings_digest": "q" * 64}))
