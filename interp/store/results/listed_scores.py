"""Read the scores that listings show, with their intervals, by feature."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from interp.store.db.tables import FeatureRow, ScoreRow

# Features that one statement names.
PORTION = 500


@dataclass(frozen=True, slots=True)
class ListedScore:
    """The listed score of a feature's best explanation, with its 95% interval and the label."""

    feature: int
    scorer: str
    value: float
    low: float | None
    high: float | None
    label: str | None


def scored_features(session: Session, run_id: int, most: int) -> list[int]:
    """Return features with a listed score, ascending: every nth, at most `most`."""
    place = func.row_number().over(order_by=FeatureRow.feature) - 1
    scored = select(FeatureRow.feature, place.label("place")).where(FeatureRow.run_id == run_id, FeatureRow.score.is_not(None)).subquery()
    total = session.scalar(select(func.count()).select_from(scored)) or 0
    step = max(1, -(-total // most))
    return list(session.scalars(select(scored.c.feature).where(scored.c.place % step == 0).order_by(scored.c.feature)))


def listed_scores(session: Session, run_id: int, features: Sequence[int]) -> dict[int, ListedScore]:
    """Return the listed scores of some features of a run, by feature."""
    figures: tuple[Any, ...] = (FeatureRow.feature, ScoreRow.scorer, ScoreRow.value, ScoreRow.low, ScoreRow.high, FeatureRow.label)
    statement = (
        select(*figures)
        .join(ScoreRow, (ScoreRow.explanation_id == FeatureRow.explanation_id) & (ScoreRow.scorer == FeatureRow.scorer))
        .where(FeatureRow.run_id == run_id, ScoreRow.value == FeatureRow.score)
    )
    found: dict[int, ListedScore] = {}
    for first in range(0, len(features), PORTION):
        portion = features[first : first + PORTION]
        found |= {row.feature: ListedScore(*row) for row in session.execute(statement.where(FeatureRow.feature.in_(portion)))}
    return found
