"""Lists again what an older version kept out of its listing: it showed the features of a dictionary's newest evidence alone."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.domain.errors import BlobCorruptError
from interp.domain.evidence import Statistics
from interp.files.evidence_codec import decode_evidence
from interp.score.best import Candidates, Running, scored, unscored
from interp.store.db.tables import EvidenceRow, FeatureRow, RunRow
from interp.store.results import dictionary_scores, evidence
from interp.store.results.evidence import Gathered

PORTION = 500


def relist(session: Session) -> None:
    """Gives every feature with evidence its row in its run, and every row its best explanation by the rule of this version.

    Evidence that is damaged stays unlisted, as what reads it would fail.
    """
    for run_id in session.scalars(select(RunRow.id).order_by(RunRow.id)).all():
        after: int | None = -1
        while after is not None:
            after = _list_some(session, run_id, after)
        shown = dictionary_scores.shown(_best(session, run_id), lambda ids: dictionary_scores.labels(session, ids))
        dictionary_scores.show_best(session, run_id, list(shown))


def _list_some(session: Session, run_id: int, after: int) -> int | None:
    """Lists the next features that have no row yet. Returns the last one looked at; None where that was all."""
    same = (FeatureRow.run_id == EvidenceRow.run_id) & (FeatureRow.feature == EvidenceRow.feature)
    unlisted = (
        select(EvidenceRow.feature, EvidenceRow.blob).outerjoin(FeatureRow, same).where(EvidenceRow.run_id == run_id, FeatureRow.feature.is_(None))
    )
    found = session.execute(unlisted.where(EvidenceRow.feature > after).order_by(EvidenceRow.feature).limit(PORTION)).all()
    read = [(feature, _statistics(blob)) for feature, blob in found]
    evidence.enlist(session, run_id, [Gathered(feature, statistics, b"") for feature, statistics in read if statistics is not None])
    return found[-1].feature if len(found) == PORTION else None


def _statistics(blob: bytes) -> Statistics | None:
    try:
        return decode_evidence(blob).statistics
    except BlobCorruptError:
        return None


def _best(session: Session, run_id: int) -> Candidates:
    best = Running()
    for rows in dictionary_scores.explained(session, run_id):
        features, explanations, *_ = zip(*rows, strict=True)
        best.add(unscored(features, explanations))
    for rows in dictionary_scores.other_scores(session, run_id, ()):
        best.add(scored(*zip(*rows, strict=True)))
    return best.best()
