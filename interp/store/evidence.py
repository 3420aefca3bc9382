"""Evidence, a blob a feature, and the counts of it that listings show."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, case, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from interp.evidence import Statistics
from interp.planning import Range
from interp.store.dialect import Upsert, write
from interp.store.tables import Evidence, Feature

# What a listing shows of explanations: it speaks of one evidence set, and is emptied when the feature's evidence changes.
OF_EXPLANATIONS = ("explanation_id", "label", "score", "lift", "q_value", "shrunken")


def _kept_with_the_same_evidence(new: Any) -> dict[str, ColumnElement[Any]]:
    same = Feature.evidence_set_id == new.evidence_set_id
    return {name: case((same, getattr(Feature, name)), else_=None) for name in OF_EXPLANATIONS}


EVIDENCE = Upsert(Evidence, ("set_id", "feature"))
FEATURES = Upsert(Feature, ("dictionary_id", "feature"), assign=_kept_with_the_same_evidence)


@dataclass(frozen=True, slots=True)
class Gathered:
    """One feature's evidence, encoded by `interp.codec`, and its statistics."""

    feature: int
    statistics: Statistics
    blob: bytes


def within(column: InstrumentedAttribute[int], ranges: Sequence[Range]) -> ColumnElement[bool]:
    """Whether the column lies in one of half-open ranges: at most some hundred of more than one feature each, or SQLite finds them too deep."""
    lone = [start for start, stop in ranges if stop - start == 1]
    return or_(column.in_(lone), *(column.between(start, stop - 1) for start, stop in ranges if stop - start > 1))


def features_with(session: Session, set_id: str) -> list[int]:
    """The features that have evidence in the set, ascending."""
    return list(session.scalars(select(Evidence.feature).where(Evidence.set_id == set_id).order_by(Evidence.feature)))


def load(session: Session, set_id: str, ranges: Sequence[Range]) -> dict[int, bytes]:
    """The blobs of the features in the ranges that have one, by feature, ascending."""
    statement = select(Evidence.feature, Evidence.blob).where(Evidence.set_id == set_id, within(Evidence.feature, ranges))
    return dict(session.execute(statement.order_by(Evidence.feature)).all())


def states(session: Session, set_id: str, dictionary_id: int, ranges: Sequence[Range]) -> dict[int, str]:
    """active, rare or dead, for the features in the ranges whose newest evidence is of this set."""
    statement = select(Feature.feature, Feature.state).where(
        Feature.dictionary_id == dictionary_id, Feature.evidence_set_id == set_id, within(Feature.feature, ranges)
    )
    return dict(session.execute(statement).all())


def save(session: Session, set_id: str, dictionary_id: int, gathered: Sequence[Gathered]) -> None:
    """Writes the blobs and the counts. Give the features in ascending order.

    A feature that is listed with other evidence is listed with this from now on, without the explanation made from the other.
    """
    blobs = [{"feature": item.feature, "density": item.statistics.density, "blob": item.blob} for item in gathered]
    write(session, EVIDENCE, blobs, {"set_id": set_id})
    rows = [
        {
            "feature": item.feature,
            "state": item.statistics.state,
            "density": item.statistics.density,
            "tokens_active": item.statistics.tokens_active,
            "max_activation": item.statistics.max_activation,
            "mean_active": item.statistics.mean_active,
        }
        for item in gathered
    ]
    write(session, FEATURES, rows, {"dictionary_id": dictionary_id, "evidence_set_id": set_id})
