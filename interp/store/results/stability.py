"""Read the scores of a dictionary with the settings of the jobs that made them."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from interp.store.db.tables import ExplanationRow, JobRow, RunRow, ScoreRow

PORTION = 1_000
# Newest runs of a dictionary whose scores are compared.
MOST_RUNS = 20
# What tells conditions apart: scores alike in these were made alike.
KEY: list[Any] = [ScoreRow.run_id, ExplanationRow.explainer, ExplanationRow.settings_digest, ScoreRow.scorer, ScoreRow.settings_digest]


def runs_of(session: Session, dictionary_id: int) -> list[int]:
    """Return the newest runs of a dictionary."""
    return list(session.scalars(select(RunRow.id).where(RunRow.dictionary_id == dictionary_id).order_by(RunRow.id.desc()).limit(MOST_RUNS)))


def made_by(session: Session, run_ids: Sequence[int]) -> Sequence[Sequence[Any]]:
    """Return how scores were made: one row per condition.

    Columns: the five of `KEY`, the run's identity, metric, the score's details, the explanation's provenance, the job's spec. Scores whose job is
    gone are left out.
    """
    first = (
        select(func.min(ScoreRow.id))
        .join(ExplanationRow, ExplanationRow.id == ScoreRow.explanation_id)
        .where(ScoreRow.run_id.in_(run_ids), ScoreRow.value.is_not(None))
        .group_by(*KEY)
    )
    statement = (
        select(*KEY, RunRow.identity, ScoreRow.metric, ScoreRow.details, ExplanationRow.provenance, JobRow.spec)
        .join(ExplanationRow, ExplanationRow.id == ScoreRow.explanation_id)
        .join(RunRow, RunRow.id == ScoreRow.run_id)
        .join(JobRow, JobRow.id == ScoreRow.job_id)
        .where(ScoreRow.id.in_(first))
        .order_by(ScoreRow.id)
    )
    return session.execute(statement).all()


def scores(session: Session, run_ids: Sequence[int]) -> Iterator[Sequence[Sequence[Any]]]:
    """Return the defined scores of runs, by condition.

    Columns: the five of `KEY`, feature, value, low, high.
    """
    statement = (
        select(*KEY, ScoreRow.feature, ScoreRow.value, ScoreRow.low, ScoreRow.high)
        .join(ExplanationRow, ExplanationRow.id == ScoreRow.explanation_id)
        .where(ScoreRow.run_id.in_(run_ids), ScoreRow.value.is_not(None))
        .order_by(ScoreRow.run_id, ScoreRow.feature, ScoreRow.explanation_id)
    )
    return session.execute(statement, execution_options={"yield_per": PORTION}).partitions()
