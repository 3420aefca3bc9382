"""Read the scores and the spending that a league table is made of."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Float, Row, Select, cast, func, literal, or_, select
from sqlalchemy.dialects.postgresql import JSONPATH
from sqlalchemy.orm import Session, aliased

from interp.store.db.dialect import among, by_any_index, is_postgresql
from interp.store.db.tables import ExplanationRow, LlmUsageRow, ScoreRow
from interp.store.llm.call_stats import PICO

PORTION = 10_000
# Features that one statement names.
NAMED = 1_000

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

    Columns: feature, explainer, its settings digest, scorer, its settings digest, metric, value, lift, q value, and the low end of the interval of
    the lift over the control `baseline`.
    """
    figures: tuple[Any, ...] = (ScoreRow.metric, ScoreRow.value, ScoreRow.lift, ScoreRow.q_value, _over_baseline(session))
    statement = (
        select(ScoreRow.feature, ExplanationRow.explainer, ExplanationRow.settings_digest, ScoreRow.scorer, ScoreRow.settings_digest, *figures)
        .join(ExplanationRow, ExplanationRow.id == ScoreRow.explanation_id)
        .where(ScoreRow.run_id == run_id, ScoreRow.value.is_not(None))
    )
    return session.execute(statement, execution_options={"yield_per": PORTION}).partitions()


def _over_baseline(session: Session) -> ColumnElement[float | None]:
    """Return the low end of the lift's interval over the control `baseline`, read from JSON."""
    if is_postgresql(session):
        path = literal('$[*] ? (@.name == "baseline").lift_interval.low ? (@ != null)', JSONPATH)
        return cast(func.jsonb_path_query_first(ScoreRow.controls, path), Float)
    control = func.json_each(ScoreRow.controls).table_valued("value")
    low, name = (func.json_extract(control.c.value, path) for path in ("$.lift_interval.low", "$.name"))
    return select(low).select_from(control).where(name == "baseline", low.is_not(None)).limit(1).scalar_subquery()


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


def paired_scores(session: Session, run_id: int, scorer: Key, first: Key, second: Key, features: Sequence[int]) -> dict[int, PairedScore]:
    """Return both explainers' scores of some features, by feature.

    Keys are a name and a settings digest.
    """
    by_any_index(session)
    found: dict[int, PairedScore] = {}
    for start in range(0, len(features), NAMED):
        some = features[start : start + NAMED]
        found |= {row.feature: PairedScore(*row) for row in session.execute(_pairs(session, run_id, scorer, first, second, some))}
    return found


def _pairs(session: Session, run_id: int, scorer: Key, first: Key, second: Key, features: Sequence[int]) -> Select[Any]:
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
    statement = select(of_one.feature.label("feature"), *columns).join(one, one.explanation_id == of_one.id)
    statement = statement.join(of_other, of_other.feature == of_one.feature).join(other, other.explanation_id == of_other.id)
    for (score, explanation), key in zip(sides, (first, second), strict=True):
        statement = statement.where(
            score.scorer == scorer[0],
            score.settings_digest == scorer[1],
            score.value.is_not(None),
            explanation.run_id == run_id,
            explanation.explainer == key[0],
            explanation.settings_digest == key[1],
            among(session, explanation.feature, features),
        )
    return statement
