"""Compare the results of one job in two databases, byte by byte.

Row ids, job ids and times differ between databases and are left out; rows are matched by what they describe.
"""

from collections.abc import Mapping
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
    JobRunRow,
    RunRow,
    ScoreItemsRow,
    ScoreRow,
    SubjectRow,
)

NOT_COMPARED = frozenset(
    {"id", "job_id", "run_id", "dictionary_id", "explanation_id", "score_id", "label_id", "number", "summaries_written"}
    | {"created_at", "completed_at", "pinned_at"}
)
TIMES = frozenset({"seconds", "total_seconds", "tokens_per_s", "features_per_s"})
EXAMPLES = 3
SCORE_KEY = ("feature", "explainer", "explainer_digest", "scorer", "settings_digest")

Key = tuple[Any, ...]
Rows = Mapping[Key, Mapping[str, Any]]


@dataclass(frozen=True)
class DatabaseSnapshot:
    """A database, and a job that has completed in it."""

    engine: Engine
    job_id: str


@dataclass(frozen=True)
class Compared:
    """Counts of the rows of one kind that are the same, differ, or are missing."""

    what: str
    same: int
    different: int
    only_first: int
    only_second: int
    examples: tuple[str, ...]

    @property
    def is_equal(self) -> bool:
        return not (self.different or self.only_first or self.only_second)


def compare(first: DatabaseSnapshot, second: DatabaseSnapshot) -> list[Compared]:
    """Return one line per kind of row; times of the summary are not compared."""
    one, other = _rows_of(first), _rows_of(second)
    return [_compared(what, one[what], other[what]) for what in one]


def sole_job(engine: Engine, spec: JobSpec) -> str | None:
    """Return a completed job with this spec whose run no other job has read.

    A job that found explanations of another job draws its nulls from those too, so its scores depend on its database.
    """
    with snapshot(engine) as session:
        for job in session.scalars(select(JobRow).where(JobRow.status == JobStatus.COMPLETED)):
            own = select(JobRunRow.run_id).where(JobRunRow.job_id == job.id)
            users = session.scalars(select(JobRunRow.job_id).where(JobRunRow.run_id.in_(own)).distinct().limit(2)).all()
            if len(users) == 1 and JobSpec.model_validate(job.spec) == spec:
                return job.id
    return None


def _rows_of(of: DatabaseSnapshot) -> dict[str, Rows]:
    """Return all rows of the job's runs, whether or not the job asked for them.

    Of several dictionaries, keys begin with the place.
    """
    with snapshot(of.engine) as session:
        job = session.get_one(JobRow, of.job_id)
        figures = {"features total": job.features_total, "features failed": job.features_failed} | (job.summary or {})
        runs = session.scalars(select(JobRunRow.run_id).where(JobRunRow.job_id == job.id).order_by(JobRunRow.place)).all()
        rows = {
            what: {
                (place, *key) if len(runs) > 1 else key: row
                for place, run_id in enumerate(runs)
                for key, row in _keyed(session, statement.where(run == run_id), keys).items()
            }
            for what, (statement, run, keys) in _statements().items()
        }
        return rows | {"summary": {(name,): {"value": value} for name, value in figures.items() if name not in TIMES}}


def _statements() -> dict[str, tuple[Select[Any], InstrumentedAttribute[Any], tuple[str, ...]]]:
    """Return, per kind of row, its query, its run column, and its keys."""
    label = ExplanationRow.explainer, ExplanationRow.settings_digest.label("explainer_digest")
    of_run = RunRow.digest.label("run"), RunRow.identity, RunRow.corpus, RunRow.tokens
    run = select(*of_run, *_columns(DictionaryRow), SubjectRow.id.label("subject"), SubjectRow.vocabulary)
    scores = select(*label, *_columns(ScoreRow)).join(ScoreRow, ScoreRow.explanation_id == ExplanationRow.id)
    items = select(*label, ScoreRow.feature, ScoreRow.scorer, ScoreRow.settings_digest, ScoreItemsRow.blob)
    listing = select(*_columns(FeatureRow), *label).outerjoin(ExplanationRow, ExplanationRow.id == FeatureRow.explanation_id)
    return {
        "run": (run.join(DictionaryRow, DictionaryRow.id == RunRow.dictionary_id).join(SubjectRow), RunRow.id, ()),
        "evidence": (select(*_columns(EvidenceRow)), EvidenceRow.run_id, ("feature",)),
        "explanations": (select(*_columns(ExplanationRow)), ExplanationRow.run_id, ("feature", "explainer", "settings_digest")),
        "scores": (scores, ExplanationRow.run_id, SCORE_KEY),
        "items": (items.join(ScoreRow, ScoreRow.explanation_id == ExplanationRow.id).join(ScoreItemsRow), ExplanationRow.run_id, SCORE_KEY),
        "listing": (listing, FeatureRow.run_id, ("feature",)),
    }


def _columns(table: type[Base]) -> list[InstrumentedAttribute[Any]]:
    return [getattr(table, column.key) for column in table.__mapper__.column_attrs if column.key not in NOT_COMPARED]


def _keyed(session: Session, statement: Select[Any], keys: tuple[str, ...]) -> Rows:
    """Return rows by their keys, with blobs replaced by their length and digest."""
    rows = [{name: _short(value) for name, value in row.items()} for row in session.execute(statement).mappings()]
    return {tuple(row[key] for key in keys): row for row in rows}


def _short(value: Any) -> Any:
    return f"{len(value)} bytes ({sha256(value).hexdigest()[:16]})" if isinstance(value, bytes) else value


def _compared(what: str, first: Rows, second: Rows) -> Compared:
    both = sorted(first.keys() & second.keys())
    different = [key for key in both if first[key] != second[key]]
    only_first, only_second = sorted(first.keys() - second.keys()), sorted(second.keys() - first.keys())
    examples = [(key, _difference(first[key], second[key])) for key in different[:EXAMPLES]]
    examples += [(key, "in the first alone") for key in only_first] + [(key, "in the second alone") for key in only_second]
    told = tuple(f"{' '.join(map(str, key))}: {how}" for key, how in examples[:EXAMPLES])
    return Compared(what, len(both) - len(different), len(different), len(only_first), len(only_second), told)


def _difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {first[name]!r:.80} and {second[name]!r:.80}" for name in first if first[name] != second[name])
