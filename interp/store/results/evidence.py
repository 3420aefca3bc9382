"""Store evidence, one blob per feature, and the statistics that listings show."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from interp.domain.evidence import Statistics
from interp.planning.plan import Range
from interp.store.db.bulk import upsert
from interp.store.db.tables import EvidenceRow, FeatureRow

KEYS = ("run_id", "feature")


@dataclass(frozen=True, slots=True)
class Gathered:
    """One feature's evidence, encoded by `interp.files.evidence_codec`, and its statistics."""

    feature: int
    statistics: Statistics
    blob: bytes


def within(column: InstrumentedAttribute[int], ranges: Sequence[Range]) -> ColumnElement[bool]:
    """Return the condition that a column is in half-open ranges (SQLite: some hundred)."""
    lone = [start for start, stop in ranges if stop - start == 1]
    return or_(column.in_(lone), *(column.between(start, stop - 1) for start, stop in ranges if stop - start > 1))


def features_with(session: Session, run_id: int) -> list[int]:
    """Return the features that have evidence in the run, ascending."""
    return list(session.scalars(select(EvidenceRow.feature).where(EvidenceRow.run_id == run_id).order_by(EvidenceRow.feature)))


def load(session: Session, run_id: int, ranges: Sequence[Range]) -> dict[int, bytes]:
    """Return the features' blobs in the ranges, by feature, ascending."""
    statement = select(EvidenceRow.feature, EvidenceRow.blob).where(EvidenceRow.run_id == run_id, within(EvidenceRow.feature, ranges))
    return dict(session.execute(statement.order_by(EvidenceRow.feature)).all())


def states(session: Session, run_id: int, ranges: Sequence[Range]) -> dict[int, str]:
    """Return the state (active, rare, dead) of features with evidence in the ranges."""
    statement = select(FeatureRow.feature, FeatureRow.state).where(FeatureRow.run_id == run_id, within(FeatureRow.feature, ranges))
    return dict(session.execute(statement).all())


def save(session: Session, run_id: int, gathered: Sequence[Gathered]) -> None:
    """Write blobs and listed statistics of features, which come in ascending order."""
    blobs = [{"run_id": run_id, "feature": item.feature, "density": item.statistics.density, "blob": item.blob} for item in gathered]
    upsert(session, EvidenceRow, blobs, KEYS)
    save_statistics(session, run_id, gathered)


def save_statistics(session: Session, run_id: int, gathered: Sequence[Gathered]) -> None:
    """Write the listed statistics of features, which come in ascending order."""
    names = ("state", "density", "tokens_active", "max_activation", "mean_active", "firing_level")
    rows = [{"run_id": run_id, "feature": item.feature} | {name: getattr(item.statistics, name) for name in names} for item in gathered]
    upsert(session, FeatureRow, rows, KEYS)
