"""Read the scores and the spending that a league table is made of."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, Select, func, or_, select
from sqlalchemy.orm import Session, aliased

from interp.store.db.tables import ExplanationRow, LlmUsageRow, ScoreRow
from interp.store.llm.call_stats import PICO

PORTION = 10_000

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class PairedScore:
    """One feature's scores by two explainers, each with its interval and label."""

    feature: int
    first: float
    first_low: float | None
    first_high: float | None
    first_label: str | None
    second: float
    second_low: float | None
    second_high: float | None
    second_label: str | None


@dataclass(frozen=True, slots=True)
class Spending:
    """Sums of some explanations' or scores' calls; `usd` None where a price is unknown."""

    calls: int
    tokens: int
    usd: float | None


def scores(session: Session, run_id: int) -> Iterator[Sequence[Row[Any]]]:
    """Return the defined scores of a run, in no order.

    Columns: feature, explainer, its settings digest, scorer, its settings digest, metric, value, lift, q value, controls.
    """
    figures = (ScoreRow.metric, ScoreRow.value, ScoreRow.lift, ScoreRow.q_value, ScoreRow.controls)
    statement = (
        select(ScoreRow.feature, ExplanationRow.explainer, ExplanationRow.settings_digest, ScoreRow.scorer, ScoreRow.settings_digest, *figures)
        .join(ExplanationRow, ExplanationRow.id == ScoreRow.explanation_id)
        .where(ScoreRow.run_id == run_id, ScoreRow.value.is_not(None))
    )
    return session.execute(statement, execution_options={"yield_per": PORTION}).partitions()


def judges(session: Session, run_id: int) -> dict[tuple[str, str], str | None]:
    """Return who judged, by scorer and its settings digest."""
    first = (
        select(func.min(ScoreRow.id))
        .where(ScoreRow.run_id == run_id, ScoreRow.value.is_not(None))
        .group_by(ScoreRow.scorer, ScoreRow.settings_digest)
    )
    found = session.execute(select(ScoreRow.scorer, ScoreRow.settings_digest, ScoreRow.details).where(ScoreRow.id.in_(first)))
    return {(scorer, digest): (details.get("provenance") or {}).get("judge") for scorer, digest, details in found}


def jobs_of(session: Session, run_id: int) -> Mapping[tuple[str, str], tuple[frozenset[str], int]]:
    """Return which jobs made the labels of each explainer and settings, and how many labels."""
    of = (ExplanationRow.run_id == run_id, ExplanationRow.text.is_not(None))
    columns = (ExplanationRow.explainer, ExplanationRow.settings_digest, ExplanationRow.job_id)
    found: dict[tuple[str, str], tuple[frozenset[str], int]] = {}
    for explainer, digest, job_id, count in session.execute(select(*columns, func.count()).where(*of).group_by(*columns)):
        jobs, before = found.get((explainer, digest), (frozenset(), 0))
        found[explainer, digest] = (jobs | ({job_id} if job_id else frozenset()), before + count)
    return found


def spending(session: Session, jobs: frozenset[str], purpose: str) -> Spending | None:
    """Return what some jobs spent on explaining by one explainer; None without a call."""
    of = (LlmUsageRow.job_id.in_(sorted(jobs)), LlmUsageRow.stage.in_(("propose", "explain")))
    named = or_(LlmUsageRow.purpose == purpose, LlmUsageRow.purpose.like(f"{purpose}/%"))
    tokens = LlmUsageRow.prompt_tokens + LlmUsageRow.completion_tokens
    sums = (LlmUsageRow.questions, tokens, LlmUsageRow.picodollars, LlmUsageRow.unpriced)
    calls, used, spent, unpriced = session.execute(select(*(func.sum(one) for one in sums)).where(*of, named)).one()
    return None if not calls else Spending(int(calls), int(used), None if unpriced else int(spent) / PICO)


def count_pairs(session: Session, run_id: int, scorer: Key, first: Key, second: Key) -> int:
    """Return how many features have a score of both explainers.

    Keys are a name and a settings digest.
    """
    return session.scalar(select(func.count()).select_from(_pairs(run_id, scorer, first, second).subquery())) or 0


def largest_differences(session: Session, run_id: int, scorer: Key, first: Key, second: Key, limit: int) -> list[PairedScore]:
    """Return the features whose two scores differ most."""
    pairs = _pairs(run_id, scorer, first, second).subquery()
    ordered = select(pairs).order_by(func.abs(pairs.c.first - pairs.c.second).desc(), pairs.c.feature).limit(limit)
    return [PairedScore(*row) for row in session.execute(ordered)]


def every_nth_pair(session: Session, run_id: int, scorer: Key, first: Key, second: Key, step: int) -> list[PairedScore]:
    """Return the pairs of the features whose index `step` divides, by feature."""
    pairs = _pairs(run_id, scorer, first, second).subquery()
    return [PairedScore(*row) for row in session.execute(select(pairs).where(pairs.c.feature % step == 0).order_by(pairs.c.feature))]


def _pairs(run_id: int, scorer: Key, first: Key, second: Key) -> Select[Any]:
    """Return a statement of the columns of `PairedScore`."""
    columns: list[Any] = []
    sides: list[tuple[Any, Any]] = [(aliased(ScoreRow), aliased(ExplanationRow)) for _ in range(2)]
    for side, (score, explanation) in zip(("first", "second"), sides, strict=True):
        columns += [
            score.value.label(side),
            score.low.label(f"{side}_low"),
            score.high.label(f"{side}_high"),
            explanation.text.label(f"{side}_label"),
        ]
    (one, of_one), (other, of_other) = sides
    statement = select(one.feature.label("feature"), *columns).join(of_one, of_one.id == one.explanation_id)
    statement = statement.join(other, (other.run_id == one.run_id) & (other.feature == one.feature)).join(
        of_other, of_other.id == other.explanation_id
    )
    for (score, explanation), key in zip(sides, (first, second), strict=True):
        statement = statement.where(
            score.run_id == run_id,
            score.scorer == scorer[0],
            score.settings_digest == scorer[1],
            score.value.is_not(None),
            explanation.explainer == key[0],
            explanation.settings_digest == key[1],
        )
    return statement
