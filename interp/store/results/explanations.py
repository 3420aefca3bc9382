"""Store explanations, one per (run, feature, explainer, settings), and candidates for nulls."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.orm import Session

from interp.domain.explanation import Explanation, ExplanationFamily
from interp.explain.imported import ForeignLabel
from interp.planning.plan import Range
from interp.store.db.bulk import upsert
from interp.store.db.dialect import now
from interp.store.db.tables import EvidenceRow, JobRow, ScoreRow
from interp.store.db.tables import ExplanationRow as Row
from interp.store.results.evidence import within
from interp.store.results.league_tables import count_change

KEYS = ("run_id", "feature", "explainer", "settings_digest")
UNLABELLED = Row.text.is_(None)


@dataclass(frozen=True, slots=True)
class NullCandidate:
    """A feature whose explanation a null may use, with the matching statistics."""

    feature: int
    density: float
    length: int


def features_with(session: Session, family: ExplanationFamily, ranges: Sequence[Range]) -> set[int]:
    """Return the features in the ranges that have a good explanation of the family."""
    return set(session.scalars(select(Row.feature).where(*_of(family), within(Row.feature, ranges), Row.text.is_not(None))))


def load(session: Session, family: ExplanationFamily, ranges: Sequence[Range]) -> dict[int, tuple[int, Explanation]]:
    """Return (id, explanation) of the features in the ranges, failed ones too, by feature, ascending."""
    rows = session.scalars(select(Row).where(*_of(family), within(Row.feature, ranges)).order_by(Row.feature))
    return {row.feature: (row.id, Explanation(row.feature, row.explainer, row.text, row.failure, row.rule, row.provenance)) for row in rows}


def imported(session: Session, run_id: int, method: str, ranges: Sequence[Range]) -> dict[int, ForeignLabel]:
    """Return each feature's latest label that an import wrote under a method's name."""
    of = (Row.run_id == run_id, Row.explainer == method, Row.job_id.is_(None), Row.text.is_not(None), within(Row.feature, ranges))
    found: dict[int, ForeignLabel] = {}
    for feature, text, provenance in session.execute(select(Row.feature, Row.text, Row.provenance).where(*of).order_by(Row.id)):
        kept = {name: provenance.get(name) for name in ("author", "method", "source", "source_digest") if provenance.get(name)}
        found[feature] = ForeignLabel(text, kept)
    return found


def candidates(session: Session, family: ExplanationFamily, job_id: str) -> list[NullCandidate]:
    """Return candidates for nulls, ascending by feature: the job's explanations and earlier ones.

    What other jobs write meanwhile is left out, so that every chunk of a job chooses from the same.
    """
    statement = (
        select(Row.feature, EvidenceRow.density, func.length(Row.text))
        .join(EvidenceRow, (EvidenceRow.run_id == Row.run_id) & (EvidenceRow.feature == Row.feature))
        .where(*_can_be_nulls(family, job_id))
        .order_by(Row.feature)
    )
    return [NullCandidate(*row) for row in session.execute(statement)]


def count_candidates(session: Session, family: ExplanationFamily, job_id: str) -> int:
    """Return the number of candidates for nulls, which grows where a retry explains more features."""
    return session.execute(select(func.count()).select_from(Row).where(*_can_be_nulls(family, job_id))).scalar_one()


def _can_be_nulls(family: ExplanationFamily, job_id: str) -> tuple[ColumnElement[bool], ...]:
    before = select(JobRow.created_at).where(JobRow.id == job_id).scalar_subquery()
    return (*_of(family), Row.text.is_not(None), (Row.job_id == job_id) | (Row.created_at < before))


def save(session: Session, family: ExplanationFamily, explanations: Sequence[Explanation], job_id: str | None) -> None:
    """Write explanations (ascending by feature), but never over a good one.

    `job_id` is None for imported ones. Another job may have been faster. Scores of overwritten explanations are deleted.
    """
    shared = asdict(family) | {"job_id": job_id, "created_at": now(session)}
    rows = [asdict(explanation) | shared for explanation in explanations]
    # Never over a good one. New rows are among those written, which have no scores yet.
    written = [row.id for row in upsert(session, Row, rows, KEYS, where=UNLABELLED, returning=[Row.id])]
    if delete_scores(session, family.run_id, written) == 0 and written and job_id is not None:
        count_change(session, family.run_id)


def delete_scores(session: Session, run_id: int, explanation_ids: Sequence[int]) -> int:
    """Delete the scores of some explanations of a run, and return how many."""
    gone = session.scalars(select(ScoreRow.id).where(ScoreRow.explanation_id.in_(explanation_ids))).all()
    if gone:
        session.execute(delete(ScoreRow).where(ScoreRow.id.in_(gone)).execution_options(synchronize_session=False))
        count_change(session, run_id)
    return len(gone)


def _of(family: ExplanationFamily) -> tuple[ColumnElement[bool], ...]:
    return (
        Row.run_id == family.run_id,
        Row.explainer == family.explainer,
        Row.settings_digest == family.settings_digest,
    )
