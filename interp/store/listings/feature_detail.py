"""One entry of the book: everything known of one feature, in a handful of reads by key."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from interp.domain.errors import NotFoundError
from interp.store.db.tables import Dictionary, Evidence, Explanation, Feature, Run, Score, ScoreItems, Subject

if TYPE_CHECKING:
    from interp.domain.evidence import FeatureEvidence


@dataclass(frozen=True, slots=True)
class Entry:
    """A feature's row, its evidence and where that came from. `subject` is the short name of the model that was read; `labels` names its nearest
    features: index to (label, score).
    """

    row: Feature
    evidence: "FeatureEvidence"
    run: Run
    subject: str
    labels: dict[int, tuple[str | None, float | None]]


def entry(session: Session, dictionary: Dictionary, run: Run, index: int) -> Entry:
    """Everything about one feature of a run but its explanations. Raises NotFound, which tells an index outside the dictionary from a feature
    that no job has collected, and BlobCorrupt.
    """
    statement = (
        select(Feature, Evidence.blob, Subject.name)
        .join(Evidence, (Evidence.run_id == Feature.run_id) & (Evidence.feature == Feature.feature))
        .join(Subject, Subject.id == dictionary.subject_id)
        .where(Feature.run_id == run.id, Feature.feature == index)
    )
    known = session.execute(statement).one_or_none()
    if known is None:
        raise _missing(dictionary, run, index)
    row, blob, subject = known
    # NumPy: listings do without.
    from interp.files.evidence_codec import decode_evidence

    evidence = decode_evidence(blob)
    nearest = [neighbour.feature for neighbour in evidence.nearest]
    found = session.execute(select(Feature.feature, Feature.label, Feature.score).where(Feature.run_id == run.id, Feature.feature.in_(nearest)))
    labels = {feature: (label, score) for feature, label, score in found}
    return Entry(row, evidence, run, subject, labels)


def _missing(dictionary: Dictionary, run: Run, index: int) -> NotFoundError:
    name = f"{dictionary.name}:{index}"
    if not 0 <= index < dictionary.features:
        return NotFoundError(
            f"No feature {name}.", why=f"{dictionary.name} has the features 0 to {dictionary.features - 1}.", features=dictionary.features
        )
    return NotFoundError(
        f"Nothing is known of feature {name} yet.", why=f"No job has collected it in run {run.number}.", cure="Submit a job that includes it."
    )


def explanations_of(session: Session, run: Run, index: int) -> Sequence[Explanation]:
    """Every explanation of a feature in a run, the newest first."""
    statement = select(Explanation).where(Explanation.run_id == run.id, Explanation.feature == index)
    return session.scalars(statement.order_by(Explanation.id.desc())).all()


def items_of(session: Session, scores: Sequence[Score]) -> dict[int, bytes]:
    """The packed items of each score that has any, by the score's id."""
    found = session.execute(select(ScoreItems.score_id, ScoreItems.blob).where(ScoreItems.score_id.in_([score.id for score in scores])))
    return dict(found.all())


def states(session: Session, run_id: int) -> dict[str, int]:
    """How many features of a run are active, rare and dead."""
    statement = select(Feature.state, func.count()).where(Feature.run_id == run_id).group_by(Feature.state)
    return dict(session.execute(statement).all())


def subject_names(session: Session, ids: Collection[str]) -> dict[str, str]:
    """The short names of some subjects, by id."""
    return dict(session.execute(select(Subject.id, Subject.name).where(Subject.id.in_(ids))).all())


def vocabulary_blob(session: Session, subject_id: str) -> bytes:
    """The packed vocabulary of a subject."""
    return session.scalars(select(Subject.vocabulary).where(Subject.id == subject_id)).one()
