"""Read everything about one feature, with a few reads by key."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from interp.domain.errors import NotFoundError
from interp.store.db.tables import DictionaryRow, EvidenceRow, ExplanationRow, FeatureRow, RunRow, ScoreItemsRow, ScoreRow, SubjectRow
from interp.store.listings.queries import all_of

if TYPE_CHECKING:
    from interp.domain.evidence import FeatureEvidence


@dataclass(frozen=True, slots=True)
class FeatureDetailRow:
    """A feature's rows; `labels` gives (label, score) of its nearest features, by index."""

    row: FeatureRow
    evidence: "FeatureEvidence"
    subject: str
    labels: dict[int, tuple[str | None, float | None]]


def read(session: Session, dictionary: DictionaryRow, run: RunRow, index: int) -> FeatureDetailRow:
    """Return everything about one feature of a run but its explanations.

    Raises BlobCorruptError, and NotFoundError, which distinguishes an index outside the dictionary from a feature that no job collected.
    """
    statement = (
        select(FeatureRow, EvidenceRow.blob, SubjectRow.name)
        .join(EvidenceRow, (EvidenceRow.run_id == FeatureRow.run_id) & (EvidenceRow.feature == FeatureRow.feature))
        .join(SubjectRow, SubjectRow.id == dictionary.subject_id)
        .where(FeatureRow.run_id == run.id, FeatureRow.feature == index)
    )
    known = session.execute(statement).one_or_none()
    if known is None:
        raise _missing(dictionary, run, index)
    row, blob, subject = known
    # Imports NumPy, which listings do not need.
    from interp.files.evidence_codec import decode_evidence

    evidence = decode_evidence(blob)
    nearest = [neighbour.feature for neighbour in evidence.nearest]
    found = session.execute(
        select(FeatureRow.feature, FeatureRow.label, FeatureRow.score).where(FeatureRow.run_id == run.id, FeatureRow.feature.in_(nearest))
    )
    labels = {feature: (label, score) for feature, label, score in found}
    return FeatureDetailRow(row, evidence, subject, labels)


def _missing(dictionary: DictionaryRow, run: RunRow, index: int) -> NotFoundError:
    name = dictionary.feature_name(index)
    if not 0 <= index < dictionary.n_features:
        return NotFoundError(f"No feature {name}.", why=f"{dictionary.name} has the features {all_of(dictionary)}.", features=dictionary.n_features)
    why = f"No job has collected it in run {run.number}."
    return NotFoundError(f"Nothing is known of feature {name} yet.", why=why, cure="Submit a job that includes it.")


def explanations_of(session: Session, run: RunRow, index: int) -> Sequence[ExplanationRow]:
    """Return every explanation of a feature in a run, the newest first."""
    statement = select(ExplanationRow).where(ExplanationRow.run_id == run.id, ExplanationRow.feature == index)
    return session.scalars(statement.order_by(ExplanationRow.id.desc())).all()


def items_of(session: Session, scores: Sequence[ScoreRow]) -> dict[int, bytes]:
    """Return the packed items of each score that has any, by the score's id."""
    found = session.execute(select(ScoreItemsRow.score_id, ScoreItemsRow.blob).where(ScoreItemsRow.score_id.in_([score.id for score in scores])))
    return dict(found.all())


def states(session: Session, run_id: int) -> dict[str, int]:
    """Return how many features of a run are active, rare and dead."""
    statement = select(FeatureRow.state, func.count()).where(FeatureRow.run_id == run_id).group_by(FeatureRow.state)
    return dict(session.execute(statement).all())


def subject_names(session: Session, ids: Collection[str]) -> dict[str, str]:
    """Return the short names of some subjects, by id."""
    return dict(session.execute(select(SubjectRow.id, SubjectRow.name).where(SubjectRow.id.in_(ids))).all())


def vocabulary_blob(session: Session, subject_id: str) -> bytes:
    """Return the packed vocabulary of a subject."""
    return session.scalars(select(SubjectRow.vocabulary).where(SubjectRow.id == subject_id)).one()
