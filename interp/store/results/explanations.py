"""Explanations: written once per (run, feature, explainer, settings), read by scorers with what nulls are matched on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Boolean, ColumnElement, delete, func, literal_column, select
from sqlalchemy.orm import Session

from interp.domain.explanation import Explanation, ExplanationFamily
from interp.planning.plan import Range
from interp.store.db import bulk_insert
from interp.store.db.bulk_insert import NOW
from interp.store.db.dialect import Upsert, portions, write_for
from interp.store.db.tables import EvidenceRow, JobRow, ScoreRow
from interp.store.db.tables import ExplanationRow as Row
from interp.store.results.evidence import within

# Never over a good one.
EXPLANATIONS = Upsert(Row, ("run_id", "feature", "explainer", "settings_digest"), where=Row.text.is_(None))


@dataclass(frozen=True, slots=True)
class NullCandidate:
    """Whose explanation a null may borrow: the feature, and what it is matched on."""

    feature: int
    density: float
    length: int


def features_with(session: Session, family: ExplanationFamily, ranges: Sequence[Range]) -> set[int]:
    """The features in the ranges that have a good explanation of the family."""
    return set(session.scalars(select(Row.feature).where(*_of(family), within(Row.feature, ranges), Row.text.is_not(None))))


def load(session: Session, family: ExplanationFamily, ranges: Sequence[Range]) -> dict[int, tuple[int, Explanation]]:
    """(id, explanation) of the features in the ranges, failed ones too, by feature, ascending."""
    rows = session.scalars(select(Row).where(*_of(family), within(Row.feature, ranges)).order_by(Row.feature))
    return {row.feature: (row.id, Explanation(row.feature, row.explainer, row.text, row.failure, row.rule, row.provenance)) for row in rows}


def candidates(session: Session, family: ExplanationFamily, job_id: str) -> list[NullCandidate]:
    """Good explanations to borrow for nulls, ascending by feature: those that the job made, and all that were there before it.

    What other jobs write meanwhile is left out, so that every chunk of a job chooses from the same.
    """
    before = select(JobRow.created_at).where(JobRow.id == job_id).scalar_subquery()
    statement = (
        select(Row.feature, EvidenceRow.density, func.length(Row.text))
        .join(EvidenceRow, (EvidenceRow.run_id == Row.run_id) & (EvidenceRow.feature == Row.feature))
        .where(*_of(family), Row.text.is_not(None), (Row.job_id == job_id) | (Row.created_at < before))
        .order_by(Row.feature)
    )
    return [NullCandidate(*row) for row in session.execute(statement)]


def save(session: Session, family: ExplanationFamily, explanations: Sequence[Explanation], job_id: str) -> None:
    """Writes the explanations, but never over a good one: another job may have been faster. Give the features in ascending order.

    Scores of what is written over go with it.
    """
    shared = {
        "run_id": family.run_id,
        "explainer": family.explainer,
        "settings_digest": family.settings_digest,
        "job_id": job_id,
        "created_at": NOW,
    }
    rows = [
        {
            "feature": explanation.feature,
            "text": explanation.text,
            "failure": explanation.failure,
            "rule": explanation.rule,
            "provenance": explanation.provenance,
        }
        for explanation in explanations
    ]
    over = [row for some in portions(rows) for row in _written_over(session, some, shared)]
    if over:
        session.execute(delete(ScoreRow).where(ScoreRow.explanation_id.in_(over)).execution_options(synchronize_session=False))


def _written_over(session: Session, rows: Sequence[Mapping[str, Any]], shared: Mapping[str, Any]) -> Sequence[int]:
    """Writes the rows, and gives the ids of those that were there; where nothing is to be saved by knowing, of all that were written."""
    if bulk_insert.is_worth_it(session, rows):
        return bulk_insert.execute(session, _over_failed, (Row,), rows, shared).scalars().all()
    return [row.id for row in write_for(session, EXPLANATIONS, rows, shared, Row.id)]


def _over_failed(given: bulk_insert.BulkRows) -> Any:
    # A row that an INSERT made has no xmax; one that it wrote over has that of the lock it took to do so.
    written = EXPLANATIONS(given).returning(Row.id, literal_column("explanations.xmax <> 0", Boolean).label("was_there")).cte("written")
    return select(written.c.id).where(written.c.was_there)


def _of(family: ExplanationFamily) -> tuple[ColumnElement[bool], ...]:
    return (
        Row.run_id == family.run_id,
        Row.explainer == family.explainer,
        Row.settings_digest == family.settings_digest,
    )
