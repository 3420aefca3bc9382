"""Count a run's features by figures, states, failures, explainers and scorers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, literal, select
from sqlalchemy.orm import Session

from interp.store.db.tables import ExplanationRow, FeatureRow, ScoreRow

BINS = 40
# Reasons and lines of the table of explainers: more tell a person nothing.
MOST_REASONS, MOST_LINES = 20, 100
Z = 1.959963984540054
SIGNIFICANT = 0.05
# Figures that span decades are counted by their logarithm.
FIGURES = {"score": False, "lift": False, "density": True, "max_activation": True}


@dataclass(frozen=True, slots=True)
class Distribution:
    """A figure's bins: `counts[i]` features from `edges[i]` to `edges[i + 1]`.

    The `others` have no figure, or one of 0. The last bin has its upper edge. A figure that spans decades (`by_decades`) has edges at equal ratios,
    and no bin for 0.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    others: int
    by_decades: bool


@dataclass(frozen=True, slots=True)
class Coverage:
    """Features of a run by what is known of them; `failed` ones have no label."""

    listed: int
    active: int
    rare: int
    dead: int
    labelled: int
    scored: int
    failed: int
    not_asked: int


@dataclass(frozen=True, slots=True)
class FailureCount:
    """How many features an explainer gave no label, for one reason."""

    explainer: str
    reason: str
    features: int


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of features' figures with its 95% interval, by features; None without any.

    It is the normal interval mean ± 1.96 s / sqrt(n): features are the units, so that it speaks of this dictionary and corpus.
    """

    count: int
    value: float | None
    low: float | None
    high: float | None

    @classmethod
    def of(cls, count: int, mean: float | None, square: float | None) -> "Mean":
        if not count or mean is None or square is None:
            return cls(0, None, None, None)
        # A database's sum of floats has an error in its last digits.
        mean, square = round(mean, 12) + 0.0, round(square, 12)
        if count < 2:
            return cls(count, mean, None, None)
        spread = math.sqrt(max(square - mean * mean, 0.0) / (count - 1))
        return cls(count, mean, mean - Z * spread, mean + Z * spread)


@dataclass(frozen=True, slots=True)
class LeagueLine:
    """What one scorer says of one explainer's labels; `significant` have a q value below 0.05."""

    explainer: str
    settings: str
    scorer: str
    scorer_settings: str
    metric: str
    score: Mean
    lift: Mean
    significant: int
    undefined: int


def distributions(session: Session, run_id: int) -> dict[str, Distribution]:
    """Return the distribution of each of `FIGURES` over a run's listed features."""
    extremes = []
    for name, by_decades in FIGURES.items():
        column = getattr(FeatureRow, name)
        known = case((column > 0, column)) if by_decades else column
        extremes += [func.count(known), func.min(known), func.max(known)]
    total, *found = session.execute(select(func.count(), *extremes).where(FeatureRow.run_id == run_id)).one()
    return {
        name: _distribution(session, run_id, name, by_decades, total, *found[3 * place : 3 * place + 3])
        for place, (name, by_decades) in enumerate(FIGURES.items())
    }


def _distribution(
    session: Session, run_id: int, name: str, by_decades: bool, total: int, count: int, low: float | None, high: float | None
) -> Distribution:
    if not count or low is None or high is None:
        return Distribution((), (), total, by_decades)
    edges = _edges(low, high, by_decades)
    column = getattr(FeatureRow, name)
    own = [FeatureRow.run_id == run_id, column.is_not(None), *([column > 0] if by_decades else [])]
    place = _place(column, edges, 0, len(edges) - 1).label("place")
    rows = dict(session.execute(select(place, func.count()).where(*own).group_by(place)).all())
    return Distribution(edges, tuple(rows.get(bin_, 0) for bin_ in range(len(edges) - 1)), total - count, by_decades)


def _edges(low: float, high: float, by_decades: bool) -> tuple[float, ...]:
    """Return the edges of the bins, the lowest and the highest value included."""
    if low == high:
        return (low, high)
    if by_decades:
        ratio = (high / low) ** (1 / BINS)
        inner = (low * ratio**place for place in range(1, BINS))
    else:
        inner = (low + (high - low) * place / BINS for place in range(1, BINS))
    return tuple(sorted({low, *(edge for edge in inner if low < edge < high), high}))


def _place(column: Any, edges: Sequence[float], first: int, last: int) -> ColumnElement[int]:
    """Return the number of a value's bin, by bisection of the bins `first` to `last`."""
    if last - first == 1:
        return literal(first)
    middle = (first + last) // 2
    return case((column < edges[middle], _place(column, edges, first, middle)), else_=_place(column, edges, middle, last))


def coverage(session: Session, run_id: int) -> Coverage:
    """Return how many of a run's features have what."""
    without_label = and_(FeatureRow.label.is_(None), FeatureRow.explanation_id.is_not(None))
    conditions = [
        *(FeatureRow.state == state for state in ("active", "rare", "dead")),
        FeatureRow.label.is_not(None),
        FeatureRow.score.is_not(None),
        without_label,
        FeatureRow.explanation_id.is_(None),
    ]
    sums = [func.coalesce(func.sum(case((condition, 1), else_=0)), 0) for condition in conditions]
    return Coverage(*session.execute(select(func.count(), *sums).where(FeatureRow.run_id == run_id)).one())


def failures(session: Session, run_id: int) -> list[FailureCount]:
    """Return the reasons for which explainers gave no label, the commonest first."""
    key = (ExplanationRow.explainer, ExplanationRow.failure)
    own = (ExplanationRow.run_id == run_id, ExplanationRow.text.is_(None))
    statement = select(*key, func.count()).where(*own).group_by(*key).order_by(func.count().desc(), *key).limit(MOST_REASONS)
    return [FailureCount(explainer, failure or "no reason was given", count) for explainer, failure, count in session.execute(statement)]


def league(session: Session, run_id: int) -> list[LeagueLine]:
    """Return a line for each explainer and scorer of a run, each with its settings."""
    key = (ExplanationRow.explainer, ExplanationRow.settings_digest, ScoreRow.scorer, ScoreRow.settings_digest.label("judged"), ScoreRow.metric)
    figures = []
    for column in (ScoreRow.value, ScoreRow.lift):
        figures += [func.count(column), func.avg(column), func.avg(column * column)]
    significant = func.sum(case((ScoreRow.q_value < SIGNIFICANT, 1), else_=0))
    statement = select(*key, *figures, significant, func.count()).join(ExplanationRow, ExplanationRow.id == ScoreRow.explanation_id)
    rows = session.execute(statement.where(ScoreRow.run_id == run_id).group_by(*key).order_by(*key).limit(MOST_LINES))
    lines = []
    for explainer, settings, scorer, judged, metric, scores, mean, square, lifts, lift, lift_square, hits, every in rows:
        score, over = Mean.of(scores, mean, square), Mean.of(lifts, lift, lift_square)
        lines.append(LeagueLine(explainer, settings, scorer, judged, metric, score, over, hits, every - scores))
    return lines
