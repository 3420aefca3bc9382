"""Explanations: written once a (evidence, feature, explainer, settings), read by scorers with what nulls are matched on."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.orm import Session

from interp.explain.base import Explanation
from interp.planning import Range, ranges_of
from interp.store.clean import storable
from interp.store.dialect import now, upsert
from interp.store.evidence import within
from interp.store.tables import Evidence, Job, Score
from interp.store.tables import Explanation as Row

KEYS = ("evidence_set_id", "feature", "explainer", "settings_digest")


@dataclass(frozen=True, slots=True)
class Family:
    """Explanations of one kind: made from the same evidence by the same explainer with the same settings."""

    evidence_set: str
    dictionary_id: int
    explainer: str
    settings_digest: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """Whose explanation a null may borrow: the feature, and what it is matched on."""

    feature: int
    density: float
    length: int


def features_with(session: Session, family: Family, ranges: Sequence[Range]) -> set[int]:
    """The features in the ranges that have a good explanation of the family."""
    return set(session.scalars(select(Row.feature).where(*_of(family), within(Row.feature, ranges), Row.text.is_not(None))))


def load(session: Session, family: Family, ranges: Sequence[Range]) -> dict[int, tuple[int, Explanation]]:
    """(id, explanation) of the features in the ranges, failed ones too, by feature, ascending."""
    rows = session.scalars(select(Row).where(*_of(family), within(Row.feature, ranges)).order_by(Row.feature))
    return {row.feature: (row.id, Explanation(row.feature, row.explainer, row.text, row.failure, row.rule, row.provenance)) for row in rows}


def labels(session: Session, family: Family) -> dict[int, tuple[int, str]]:
    """(id, text) of every good explanation of the family, by feature, ascending."""
    statement = select(Row.feature, Row.id, Row.text).where(*_of(family), Row.text.is_not(None)).order_by(Row.feature)
    return {feature: (row, text) for feature, row, text in session.execute(statement) if text is not None}


def candidates(session: Session, family: Family, job_id: str) -> list[Candidate]:
    """Good explanations to borrow for nulls, ascending by feature: those that the job made, and all that were there before it.

    What other jobs write meanwhile is left out, so that every chunk of a job chooses from the same.
    """
    before = select(Job.created_at).where(Job.id == job_id).scalar_subquery()
    statement = (
        select(Row.feature, Evidence.density, func.length(Row.text))
        .join(Evidence, (Evidence.set_id == Row.evidence_set_id) & (Evidence.feature == Row.feature))
        .where(*_of(family), Row.text.is_not(None), (Row.job_id == job_id) | (Row.created_at < before))
        .order_by(Row.feature)
    )
    return [Candidate(*row) for row in session.execute(statement)]


def save(session: Session, family: Family, explanations: Sequence[Explanation], job_id: str) -> None:
    """Writes the explanations, but never over a good one: another job may have been faster. Give the features in ascending order.

    Scores of what is written over go with it.
    """
    ranges = ranges_of([explanation.feature for explanation in explanations])
    known = dict(session.execute(select(Row.feature, Row.text.is_not(None)).where(*_of(family), within(Row.feature, ranges))).all())
    explanations = [explanation for explanation in explanations if not known.get(explanation.feature)]
    if not explanations:
        return
    failed = [explanation.feature for explanation in explanations if explanation.feature in known]
    if failed:
        replaced = select(Row.id).where(*_of(family), Row.feature.in_(failed))
        session.execute(delete(Score).where(Score.explanation_id.in_(replaced)).execution_options(synchronize_session=False))
    moment = now(session)
    rows = [
        {
            "dictionary_id": family.dictionary_id,
            "feature": explanation.feature,
            "evidence_set_id": family.evidence_set,
            "explainer": family.explainer,
            "settings_digest": family.settings_digest,
            "text": storable(explanation.text),
            "failure": storable(explanation.failure),
            "rule": storable(explanation.rule),
            "provenance": storable(explanation.provenance),
            "job_id": job_id,
            "created_at": moment,
        }
        for explanation in explanations
    ]
    upsert(session, Row, rows, keys=KEYS)


def _of(family: Family) -> tuple[ColumnElement[bool], ...]:
    return (
        Row.evidence_set_id == family.evidence_set,
        Row.explainer == family.explainer,
        Row.settings_digest == family.settings_digest,
    )
