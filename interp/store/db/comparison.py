"""Two books held side by side: whether one job gave the same in both, row by row and byte by byte.

Row ids, job ids and times are a book's own and are left out; rows are found by what they are about.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from sqlalchemy import Engine, Select, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from interp.domain.lifecycle import JobStatus
from interp.domain.spec import JobSpec
from interp.store.db.engine import snapshot
from interp.store.db.tables import (
    Base,
    DictionaryRow,
    EvidenceRow,
    ExplanationRow,
    FeatureRow,
    JobRow,
    RunRow,
    ScoreItemsRow,
    ScoreRow,
    SubjectRow,
)

OF_THE_BOOK = frozenset(
    {"id", "job_id", "run_id", "dictionary_id", "explanation_id", "score_id", "number", "summaries_written"}
    | {"created_at", "completed_at", "pinned_at"}
)
TIMES = frozenset({"seconds", "total_seconds", "tokens_per_s", "features_per_s"})
STEP = 256  # features read at once
EXAMPLES = 3

Key = tuple[Any, ...]
Rows = Mapping[Key, Mapping[str, Any]]


@dataclass(frozen=True)
class DatabaseSnapshot:
    """A database, and a job that has completed in it."""

    engine: Engine
    job_id: str


@dataclass(frozen=True)
class Compared:
    """One kind of row in both books: how many are the same, differ, or stand in one of them alone; and the first few that are not the same."""

    what: str
    same: int = 0
    different: int = 0
    only_first: int = 0
    only_second: int = 0
    examples: tuple[str, ...] = ()

    @property
    def is_equal(self) -> bool:
        return not (self.different or self.only_first or self.only_second)


def compare(first: DatabaseSnapshot, second: DatabaseSnapshot) -> list[Compared]:
    """One line a kind of row, in the order in which a job makes them; the summary is compared without its times."""
    with snapshot(first.engine) as one, snapshot(second.engine) as other:
        jobs = one.get_one(JobRow, first.job_id), other.get_one(JobRow, second.job_id)
        found = [_compare_rows("run", _run_of(one, jobs[0]), _run_of(other, jobs[1]))]
        for what, rows_of in TABLES.items():
            compared = Compared(what)
            for low, high in _steps(one, jobs[0]):
                compared = _joined(compared, _compare_rows(what, rows_of(one, jobs[0], low, high), rows_of(other, jobs[1], low, high)))
            found.append(compared)
        found.append(_compare_rows("summary", _summary_of(jobs[0]), _summary_of(jobs[1])))
    return found


def sole_job(engine: Engine, spec: JobSpec) -> str | None:
    """A completed job with this spec, whose run no other job has read.

    A job that found explanations of another one draws its nulls from those too, so its scores are its book's and not its own.
    """
    with snapshot(engine) as session:
        for job in session.scalars(select(JobRow).where(JobRow.status == JobStatus.COMPLETED)):
            users = session.scalars(select(JobRow.id).where(JobRow.run_id == job.run_id).limit(2)).all()
            if len(users) == 1 and JobSpec.model_validate(job.spec) == spec:
                return job.id
    return None


def _steps(session: Session, job: JobRow) -> Iterator[tuple[int, int]]:
    """All features of the dictionary, not the job's alone: neither book may hold more."""
    features = session.scalars(select(DictionaryRow.n_features).where(DictionaryRow.id == job.dictionary_id)).one()
    yield from ((low, min(low + STEP, features)) for low in range(0, features, STEP))


def _run_of(session: Session, job: JobRow) -> Rows:
    """What the evidence was made from."""
    row = session.execute(
        select(RunRow.digest.label("run"), RunRow.identity, RunRow.corpus, RunRow.tokens, *_columns(DictionaryRow), *_vocabulary())
        .join(DictionaryRow, DictionaryRow.id == RunRow.dictionary_id)
        .join(SubjectRow, SubjectRow.id == DictionaryRow.subject_id)
        .where(RunRow.id == job.run_id)
    ).one()
    return {(): dict(row._mapping)}


def _vocabulary() -> list[Any]:
    return [SubjectRow.id.label("subject"), SubjectRow.vocabulary]


def _evidence(session: Session, job: JobRow, low: int, high: int) -> Rows:
    statement = select(*_columns(EvidenceRow)).where(EvidenceRow.run_id == job.run_id, *_within(EvidenceRow.feature, low, high))
    return _keyed(session, statement, "feature")


def _explanations(session: Session, job: JobRow, low: int, high: int) -> Rows:
    where = ExplanationRow.run_id == job.run_id, *_within(ExplanationRow.feature, low, high)
    return _keyed(session, select(*_columns(ExplanationRow)).where(*where), "feature", "explainer", "settings_digest")


def _scores(session: Session, job: JobRow, low: int, high: int) -> Rows:
    return _keyed(session, _of_explanations(job, low, high, *_columns(ScoreRow)), *OF_A_SCORE)


def _items(session: Session, job: JobRow, low: int, high: int) -> Rows:
    columns = ScoreRow.feature, ScoreRow.scorer, ScoreRow.settings_digest, ScoreItemsRow.blob
    statement = _of_explanations(job, low, high, *columns).join(ScoreItemsRow, ScoreItemsRow.score_id == ScoreRow.id)
    return _keyed(session, statement, *OF_A_SCORE)


OF_A_SCORE = ("feature", "explainer", "explainer_digest", "scorer", "settings_digest")


def _of_explanations(job: JobRow, low: int, high: int, *columns: Any) -> Select[Any]:
    labels = ExplanationRow.explainer, ExplanationRow.settings_digest.label("explainer_digest")
    where = ExplanationRow.run_id == job.run_id, *_within(ExplanationRow.feature, low, high)
    return select(*labels, *columns).join_from(ExplanationRow, ScoreRow, ScoreRow.explanation_id == ExplanationRow.id).where(*where)


def _listing(session: Session, job: JobRow, low: int, high: int) -> Rows:
    shown = ExplanationRow.explainer, ExplanationRow.settings_digest
    statement = (
        select(*_columns(FeatureRow), *shown)
        .outerjoin(ExplanationRow, ExplanationRow.id == FeatureRow.explanation_id)
        .where(FeatureRow.run_id == job.run_id, *_within(FeatureRow.feature, low, high))
    )
    return _keyed(session, statement, "feature")


TABLES: dict[str, Callable[[Session, JobRow, int, int], Rows]] = {
    "evidence": _evidence,
    "explanations": _explanations,
    "scores": _scores,
    "items": _items,
    "listing": _listing,
}


def _summary_of(job: JobRow) -> Rows:
    figures = {"features total": job.features_total, "features failed": job.features_failed} | (job.summary or {})
    return {(name,): {"value": value} for name, value in figures.items() if name not in TIMES}


def _columns(table: type[Base]) -> list[InstrumentedAttribute[Any]]:
    return [getattr(table, column.key) for column in table.__mapper__.column_attrs if column.key not in OF_THE_BOOK]


def _within(feature: InstrumentedAttribute[int], low: int, high: int) -> tuple[Any, Any]:
    return feature >= low, feature < high


def _keyed(session: Session, statement: Select[Any], *keys: str) -> Rows:
    rows = [dict(row._mapping) for row in session.execute(statement)]
    return {tuple(row[key] for key in keys): row for row in rows}


def _compare_rows(what: str, first: Rows, second: Rows) -> Compared:
    both = sorted(first.keys() & second.keys())
    different = [key for key in both if first[key] != second[key]]
    only_first, only_second = sorted(first.keys() - second.keys()), sorted(second.keys() - first.keys())
    examples = [_difference(key, first[key], second[key]) for key in different[:EXAMPLES]]
    examples += [f"{_named(key)}: in the first alone" for key in only_first[:EXAMPLES]]
    examples += [f"{_named(key)}: in the second alone" for key in only_second[:EXAMPLES]]
    return Compared(what, len(both) - len(different), len(different), len(only_first), len(only_second), tuple(examples[:EXAMPLES]))


def _joined(one: Compared, other: Compared) -> Compared:
    return Compared(
        one.what,
        one.same + other.same,
        one.different + other.different,
        one.only_first + other.only_first,
        one.only_second + other.only_second,
        (one.examples + other.examples)[:EXAMPLES],
    )


def _difference(key: Key, first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    parts = [f"{name} {_told(first[name])} and {_told(second[name])}" for name in first if first[name] != second[name]]
    return f"{_named(key)}: {', '.join(parts)}"


def _named(key: Key) -> str:
    return " ".join(str(part) for part in key)


def _told(value: Any) -> str:
    """Bytes by their number and a digest; nothing longer than a line."""
    return f"{len(value)} bytes ({sha256(value).hexdigest()[:8]})" if isinstance(value, bytes) else repr(value)[:80]
