"""Runs as they stand: their jobs, their coverage, and which one is current. Reads the store."""

from collections.abc import Sequence
from typing import Any, Literal

from api import schemas
from api.presenters import names
from interp.domain.lifecycle import JOB_ENDS
from interp.store.db.engine import Session
from interp.store.db.tables import DictionaryRow, JobRow, RunRow
from interp.store.listings import feature_detail
from interp.store.results import runs

Status = Literal["completed", "collecting", "incomplete"]


def run(session: Session, row: RunRow, dictionary: DictionaryRow) -> schemas.RunAnswer:
    """Everything about one run."""
    return all_of(session, [(row, dictionary)])[0]


def all_of(session: Session, rows: Sequence[tuple[RunRow, DictionaryRow]]) -> list[schemas.RunAnswer]:
    """Everything about some runs: as many statements as for one."""
    current = {found.id for found in runs.all_current(session, {dictionary.id for _, dictionary in rows})}
    counted = runs.covered(session, [row.id for row, _ in rows if row.completed_at is None])
    jobs = runs.jobs_of(session, [row.id for row, _ in rows])
    subjects = feature_detail.subject_names(session, {dictionary.subject_id for _, dictionary in rows})
    return [
        schemas.RunAnswer(
            id=row.id,
            name=names.run_name(row, dictionary),
            number=row.number,
            dictionary=dictionary.name,
            digest=row.digest,
            status=_status(row, jobs.get(row.id, ())),
            current=row.id in current,
            pinned=row.pinned_at is not None,
            subject=subjects[dictionary.subject_id],
            corpus=names.corpus_name(row),
            tokens=row.tokens,
            features=counted.get(row.id, row.covered_features),
            features_of_dictionary=dictionary.n_features,
            jobs=[_job(job) for job in jobs.get(row.id, ())],
            **_firing(row),
            identity=row.identity,
            corpus_facts=row.corpus,
            created_at=row.created_at,
            completed_at=row.completed_at,
        )
        for row, dictionary in rows
    ]


def _status(row: RunRow, jobs: Sequence[JobRow]) -> Status:
    if row.completed_at is not None:
        return "completed"
    return "collecting" if any(job.status not in JOB_ENDS for job in jobs) else "incomplete"


def _firing(row: RunRow) -> dict[str, Any]:
    """Mode and rate of the features' firing levels. Runs of before knew no other level than 0."""
    is_dense = row.corpus.get("firing_level") == "quantile"
    rate = (row.identity.get("collection") or {}).get("firing_rate")
    return {"firing_level": "quantile" if is_dense else "zero", "firing_rate": rate if is_dense else None}


def _job(row: JobRow) -> schemas.RunJob:
    explainers, scorers = ([spec["name"] for spec in row.spec.get(kind) or ()] for kind in ("explainers", "scorers"))
    return schemas.RunJob(
        id=row.id, status=row.status, explainers=explainers, scorers=scorers, created_at=row.created_at, finished_at=row.finished_at
    )
