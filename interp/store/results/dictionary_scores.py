"""Read all scores of a run, and write statistics of all, in bounded portions."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Row, Select, case, func, or_, select, update
from sqlalchemy.orm import Session

from interp.planning.plan import Range
from interp.score.best import ORDER, UNSCORED, Candidates, best, scored, unscored
from interp.store.db.bulk import update_rows
from interp.store.db.tables import EvidenceRow, ExplanationRow, FeatureRow, RunRow, ScoreRow
from interp.store.results import label_texts, league_tables
from interp.store.results.evidence import within

# Rows per portion that are read, computed and written.
PORTION = 1_000

T = TypeVar("T")
Floats = NDArray[np.float64]
Portions = Iterator[Sequence[Row[Any]]]


@dataclass(frozen=True, slots=True)
class AdjustedScore:
    """Run-wide statistics of a score, the method of its p value, its null's limitation."""

    id: int
    p_value: float | None
    p_method: str | None
    q_value: float | None
    shrunken_value: float | None
    null_reason: str | None


@dataclass(frozen=True, slots=True)
class BestExplanation:
    """A feature's best explanation as listings show it."""

    feature: int
    explanation_id: int
    label: str | None
    scorer: str | None = None
    score: float | None = None
    lift: float | None = None
    q_value: float | None = None
    shrunken_score: float | None = None
    p_value: float | None = None


def scores_of(session: Session, run_id: int, scorer: str, settings_digest: str) -> Portions:
    """Return all scores of one scorer in a run, by feature, then explanation.

    Columns: id, feature, explanation id, explainer and settings digest of the explanation, metric, value, lift, p value, q value, shrunken value,
    paired p value, low and high end of the interval, method of the p value, reason of the null, null values (None where the score has a p value by
    rank), controls.
    """
    figures = ("value", "lift", "p_value", "q_value", "shrunken_value", "p_paired", "low", "high", "p_method", "null_reason")
    statement = (
        select(ScoreRow.id, ScoreRow.feature, ScoreRow.explanation_id, ExplanationRow.explainer, ExplanationRow.settings_digest, ScoreRow.metric)
        .add_columns(*(getattr(ScoreRow, name) for name in figures))
        .add_columns(case((ScoreRow.p_method.is_distinct_from("rank"), ScoreRow.null_values)), ScoreRow.controls)
        .join(ExplanationRow, ExplanationRow.id == ScoreRow.explanation_id)
        .where(ScoreRow.run_id == run_id, ScoreRow.scorer == scorer, ScoreRow.settings_digest == settings_digest)
        .order_by(ScoreRow.feature, ScoreRow.explanation_id)
    )
    return _portions(session, statement)


def explained(session: Session, run_id: int) -> Portions:
    """Return feature, id, explainer and settings digest of every good explanation of the run."""
    statement = select(ExplanationRow.feature, ExplanationRow.id, ExplanationRow.explainer, ExplanationRow.settings_digest)
    return _portions(session, statement.where(ExplanationRow.run_id == run_id, ExplanationRow.text.is_not(None)))


def other_scores(session: Session, run_id: int, known: Iterable[tuple[str, str]]) -> Portions:
    """Return the run's defined scores that are not of a `known` (scorer, settings digest).

    Columns: feature, explanation id, scorer, value, shrunken value, lift, q value, p value.
    """
    figures = (ScoreRow.value, ScoreRow.shrunken_value, ScoreRow.lift, ScoreRow.q_value, ScoreRow.p_value)
    statement = select(ScoreRow.feature, ScoreRow.explanation_id, ScoreRow.scorer, *figures)
    others = [or_(ScoreRow.scorer != scorer, ScoreRow.settings_digest != digest) for scorer, digest in known]
    return _portions(session, statement.where(ScoreRow.run_id == run_id, ScoreRow.value.is_not(None), *others))


def summaries(session: Session, run_id: int) -> int:
    """Return how many summaries of the run have been written."""
    return session.execute(select(RunRow.summaries_written).where(RunRow.id == run_id)).scalar_one()


def begin_summary(session: Session, run_id: int) -> int:
    """Lock the run's row, count one summary more, and return the count before."""
    before = session.execute(select(RunRow.summaries_written).where(RunRow.id == run_id).with_for_update(key_share=True)).scalar_one()
    session.execute(update(RunRow).where(RunRow.id == run_id).values(summaries_written=before + 1))
    league_tables.count_change(session, run_id)
    return before


def densities(session: Session, run_id: int) -> Portions:
    """Return feature and density (share of tokens with activity) of the run's features."""
    return _portions(session, select(EvidenceRow.feature, EvidenceRow.density).where(EvidenceRow.run_id == run_id))


def states(session: Session, run_id: int, ranges: Sequence[Range]) -> dict[str, int]:
    """Return how many features of the run in the ranges are active, rare or dead."""
    of = (FeatureRow.run_id == run_id, within(FeatureRow.feature, ranges))
    return dict(session.execute(select(FeatureRow.state, func.count()).where(*of).group_by(FeatureRow.state)).all())


def labels(session: Session, explanation_ids: Sequence[int]) -> dict[int, str | None]:
    """Return the texts of some explanations, by id."""
    return dict(session.execute(select(ExplanationRow.id, ExplanationRow.text).where(ExplanationRow.id.in_(explanation_ids))).all())


def save_adjusted(session: Session, scores: Iterable[AdjustedScore]) -> None:
    """Write the adjusted values of scores, which come ascending by id."""
    for some in _cut(scores):
        update_rows(session, ScoreRow, [asdict(item) for item in some], keys=["id"])


def show_best(session: Session, run_id: int, best: Iterable[BestExplanation]) -> None:
    """List each feature with its best explanation, from input ascending by feature."""
    for some in _cut(best):
        ids = label_texts.save(session, [item.label for item in some if item.label is not None])
        explainers = _explainers(session, [item.explanation_id for item in some])
        rows = [
            {"run_id": run_id, "label_id": None if item.label is None else ids[item.label], "explainer": explainers.get(item.explanation_id)}
            | asdict(item)
            for item in some
        ]
        update_rows(session, FeatureRow, rows, ["run_id", "feature"])


def show_best_of(session: Session, run_id: int, features: Sequence[int]) -> None:
    """List some features, ascending, with the best of all their explanations.

    A summary does so for a whole run: this is for explanations that come or change outside of a job.
    """
    for start in range(0, len(features), PORTION):
        some = features[start : start + PORTION]
        good = select(ExplanationRow.feature, ExplanationRow.id).where(
            ExplanationRow.run_id == run_id, ExplanationRow.feature.in_(some), ExplanationRow.text.is_not(None)
        )
        figures = (ScoreRow.scorer, ScoreRow.value, ScoreRow.shrunken_value, ScoreRow.lift, ScoreRow.q_value, ScoreRow.p_value)
        defined = select(ScoreRow.feature, ScoreRow.explanation_id, *figures).where(
            ScoreRow.run_id == run_id, ScoreRow.feature.in_(some), ScoreRow.value.is_not(None)
        )
        found = Candidates.joined([unscored(*_columns(session, good)), scored(*_columns(session, defined))])
        show_best(session, run_id, shown(best(found), partial(labels, session)))


def _explainers(session: Session, explanation_ids: Sequence[int]) -> dict[int, str]:
    return dict(session.execute(select(ExplanationRow.id, ExplanationRow.explainer).where(ExplanationRow.id.in_(explanation_ids))).all())


def shown(best: Candidates, labels: Callable[[Sequence[int]], Mapping[int, str | None]]) -> Iterator[BestExplanation]:
    """Yield best explanations with figures; `labels` gives a portion's texts."""
    for start in range(0, len(best), PORTION):
        some = slice(start, start + PORTION)
        made = best.explanations[some].tolist()
        texts = labels(made)
        # Undefined figures rank nothing, and are not shown.
        scorers = [
            None if rank == UNSCORED or math.isnan(value) else ORDER[rank] for rank, value in zip(best.ranks[some], best.values[some], strict=True)
        ]
        figures = (numbers(column[some]) for column in (best.values, best.lifts, best.q_values, best.shrunken_values, best.p_values))
        for feature, explanation, scorer, *rest in zip(best.features[some].tolist(), made, scorers, *figures, strict=True):
            yield BestExplanation(feature, explanation, texts.get(explanation), scorer, *(rest if scorer else ()))


def _columns(session: Session, statement: Select[*tuple[Any, ...]]) -> list[list[Any]]:
    """Return the columns of a statement's rows."""
    rows = session.execute(statement).all()
    return [[row[place] for row in rows] for place in range(len(statement.selected_columns))]


def numbers(column: Floats) -> list[float | None]:
    """Return the numbers of a column, NaN as None."""
    return [None if math.isnan(value) else value for value in column.tolist()]


def _portions(session: Session, statement: Select[*tuple[Any, ...]]) -> Portions:
    """Return the rows of one statement, of one moment, as they are fetched."""
    return session.execute(statement, execution_options={"yield_per": PORTION}).partitions()


def _cut(rows: Iterable[T]) -> Iterator[list[T]]:
    left = iter(rows)
    while some := list(islice(left, PORTION)):
        yield some
