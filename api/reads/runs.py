"""Read runs, and read or pin the current run of a dictionary."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from api.reads import cursors, pages
from api.reads.cursors import RowId
from api.reads.dictionaries import counted
from api.reads.names import corpus_name, run_name
from api.schemas.dictionaries import DictionaryAnswer
from api.schemas.runs import RunAnswer, RunJob, RunPage
from interp.domain.errors import NotFoundError
from interp.domain.lifecycle import JOB_ENDS
from interp.store.db.engine import Session
from interp.store.db.tables import DictionaryRow, JobRow, RunRow
from interp.store.listings import feature_detail, queries
from interp.store.results import runs as stored

PLACE = TypeAdapter(tuple[RowId])


def runs(session: Session, dictionary: str | None, cursor: str | None, limit: int) -> RunPage:
    """Return a page of runs, oldest first; raises NotFoundError, CursorInvalidError."""
    dictionary_id = None if dictionary is None else queries.dictionary(session, dictionary).id
    listing: dict[str, object] = {"of": "runs"} if dictionary_id is None else {"of": "runs", "dictionary": dictionary_id}
    after = cursors.decode(listing, cursor, PLACE)[0] if cursor else 0
    found = stored.page(session, dictionary_id, after, limit + 1)
    place = (found[limit - 1][0].id,) if len(found) > limit else None
    return pages.build(RunPage, found[:limit], lambda pairs: _answers(session, pairs), lambda pair: pair[0].id, listing, place)


def run(session: Session, run_id: int) -> RunAnswer:
    """Return one run; raises NotFoundError."""
    found = stored.of_ids(session, {run_id})
    if run_id not in found:
        raise NotFoundError(f"There is no run {run_id}.", cure="List the runs with `glossator runs` (GET /v1/runs).")
    return _answers(session, [found[run_id]])[0]


def pin(session: Session, dictionary: str, reference: str) -> DictionaryAnswer:
    """Pin a dictionary's current run in the caller's transaction; raises NotFoundError, ConflictError."""
    row = queries.dictionary(session, dictionary)
    stored.pin(session, row, stored.named(session, row, reference))
    return counted(session, row)


def unpin(session: Session, dictionary: str) -> DictionaryAnswer:
    """Unpin a dictionary's current run in the caller's transaction; raises NotFoundError."""
    row = queries.dictionary(session, dictionary)
    stored.unpin(session, row)
    return counted(session, row)


def _answers(session: Session, rows: Sequence[tuple[RunRow, DictionaryRow]]) -> list[RunAnswer]:
    """Return some runs, with as many SQL statements as for one."""
    current = {found.id for found in stored.all_current(session, {dictionary.id for _, dictionary in rows})}
    counts = stored.covered(session, [row.id for row, _ in rows if row.completed_at is None])
    jobs = stored.jobs_of(session, [row.id for row, _ in rows])
    subjects = feature_detail.subject_names(session, {dictionary.subject_id for _, dictionary in rows})
    return [
        RunAnswer.of(
            row,
            name=run_name(row, dictionary),
            dictionary=dictionary.name,
            status=_status(row, jobs.get(row.id, ())),
            current=row.id in current,
            pinned=row.pinned_at is not None,
            subject=subjects[dictionary.subject_id],
            corpus=corpus_name(row),
            covered_features=counts.get(row.id, row.covered_features),
            n_features=dictionary.n_features,
            jobs=[_job(job, dictionary.name) for job in jobs.get(row.id, ())],
            corpus_facts=row.corpus,
            **_firing(row),
        )
        for row, dictionary in rows
    ]


def _status(row: RunRow, jobs: Sequence[JobRow]) -> str:
    if row.completed_at is not None:
        return "completed"
    return "collecting" if any(job.status not in JOB_ENDS for job in jobs) else "incomplete"


def _firing(row: RunRow) -> dict[str, Any]:
    """Return the mode and rate of firing levels; without a mode levels are 0."""
    is_dense = row.corpus.get("firing_level") == "quantile"
    rate = (row.identity.get("collection") or {}).get("firing_rate")
    return {"firing_level": "quantile" if is_dense else "zero", "firing_rate": rate if is_dense else None}


def _job(row: JobRow, dictionary: str) -> RunJob:
    explainers, scorers = ([spec["name"] for spec in row.spec.get(kind) or ()] for kind in ("explainers", "scorers"))
    return RunJob.of(row, explainers=explainers, scorers=scorers, median_lift=_median_lift(row.summary, dictionary))


class _ScorerMedian(BaseModel):
    median_lift: Annotated[float, Field(allow_inf_nan=False)] | None = None


class _Summary(BaseModel):
    """What is read of a job's summary.

    A job of several dictionaries has one of each.
    """

    dictionary: str = ""
    scores: dict[str, _ScorerMedian] = {}
    dictionaries: list["_Summary"] = []


def _median_lift(summary: object, dictionary: str) -> dict[str, float | None]:
    """Return a dictionary's medians by scorer; nothing of a damaged summary."""
    try:
        read = _Summary.model_validate(summary or {})
    except ValidationError:
        return {}  # The listing of jobs tells of it; the run is sound.
    of_one = next((one for one in read.dictionaries if one.dictionary == dictionary), read)
    return {scorer: figures.median_lift for scorer, figures in of_one.scores.items()}
