"""Submit jobs, and change their status, which nothing else writes."""

import hashlib
import json
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session, aliased

from interp.domain.errors import ConflictError, LeaseLostError
from interp.domain.job_warnings import JobWarning, merged
from interp.domain.lifecycle import JOB_ENDS, WORKABLE, ChunkStatus, JobKind, JobStatus, Stage, sources_of
from interp.domain.spec import BudgetSpec, JobSpec
from interp.observability import traces
from interp.planning.fingerprint import models_key
from interp.planning.plan import ChunkPlan, count, plan_check, plan_measure, plan_prepare
from interp.planning.retry_plan import ChunkState, reopening
from interp.store.access import quotas
from interp.store.db.bulk import upsert
from interp.store.db.dialect import now
from interp.store.db.tables import JobRow, JobRunRow
from interp.store.db.text import storable
from interp.store.listings import queries
from interp.store.llm import reply_cache
from interp.store.queue import budgets, chunks, paused_time, webhooks
from interp.store.results import runs

if TYPE_CHECKING:
    from interp.planning.preflight import Preflight


def submit(
    session: Session,
    spec: JobSpec,
    preflight: "Preflight | None" = None,
    idempotency_key: str | None = None,
    asked: JobSpec | None = None,
    kind: JobKind = JobKind.JOB,
    owner: str | None = None,
) -> JobRow:
    """Write a job, its budget and its first chunk, or return the idempotency key's job.

    Without `preflight` the first chunk checks the job's files; `admit` or `fail` follow. `asked` (default: `spec`) is the spec of the key, before
    facts of the files were added. The control `random_weights` adds the same job on a subject that has learned nothing, on the same budget. Raises
    ConflictError when the key was used for another spec.
    """
    job_id = _write(session, spec, preflight, idempotency_key, asked=asked, kind=kind, owner=owner)
    if job_id is None:
        return _same_request(session, str(idempotency_key), asked or spec, kind, owner)
    budgets.create(session, job_id, spec.budget)
    if preflight is not None and kind == JobKind.JOB:
        _write_control(session, spec, preflight, job_id, owner)
    return get(session, job_id)


def submit_on_run(session: Session, spec: JobSpec, dictionary_id: int, run_id: int, plans: Sequence[ChunkPlan]) -> JobRow:
    """Write a job on existing evidence with all its chunks; no file is read."""
    job_id = str(_write(session, spec, None, plans=plans))
    budgets.create(session, job_id, spec.budget)
    attach(session, job_id, [(dictionary_id, run_id)], count(spec.feature_ranges() or ()))
    return get(session, job_id)


def admit(session: Session, job_id: str, spec: JobSpec, preflight: "Preflight") -> None:
    """Queue a job whose files were checked; raises LeaseLostError and QuotaError.

    LeaseLostError: the check has ended. QuotaError: the files have more features than the key may use.
    """
    key_id = quotas.hold_of(session, job_id)
    kind, owner = (job := get(session, job_id)).kind, job.owner
    found = _facts(spec, preflight) | {"spec": spec.model_dump(mode="json"), "models_key": models_key(preflight.identity)}
    if not _move(session, job_id, JobStatus.QUEUED, JobRow.status == JobStatus.CHECKING, **found):
        raise LeaseLostError(f"job {job_id} is no longer being checked")
    chunks.add(session, job_id, spec.priority, [_first_chunk(kind, preflight)])
    if kind == JobKind.JOB:
        _write_control(session, spec, preflight, job_id, owner)
    quotas.recheck(session, key_id, job_id)


def submitted(session: Session, spec: JobSpec, idempotency_key: str, kind: JobKind = JobKind.JOB, owner: str | None = None) -> JobRow | None:
    """Return the owner's job of this key or None; raises ConflictError for another spec."""
    known = session.scalar(select(JobRow.id).where(JobRow.idempotency_key == _stored_key(idempotency_key, owner)))
    return None if known is None else _same_request(session, idempotency_key, spec, kind, owner)


def control_of(session: Session, job_id: str) -> JobRow | None:
    """Return the job's random-weights control, where it asked for one."""
    return session.scalars(select(JobRow).where(JobRow.control_of == job_id)).first()


def _write(
    session: Session,
    spec: JobSpec,
    preflight: "Preflight | None",
    key: str | None = None,
    asked: JobSpec | None = None,
    control_of: str | None = None,
    plans: Sequence[ChunkPlan] = (),
    kind: JobKind = JobKind.JOB,
    owner: str | None = None,
) -> str | None:
    """Return the new job's id, or None where the key has one.

    `plans` are all its chunks, where known.
    """
    row: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "kind": kind,
        "status": JobStatus.CHECKING if preflight is None and not plans else JobStatus.QUEUED,
        "priority": spec.priority,
        "spec": spec.model_dump(mode="json"),
        "idempotency_key": None if key is None else _stored_key(key, owner),
        "request_digest": _digest(asked or spec, kind),
        "features_failed": 0,
        "control_of": control_of,
        "owner": owner,
        # A control's subject has other weights than those that were checked.
        "models_key": models_key(preflight.identity) if preflight is not None and control_of is None else None,
        "traceparent": traces.traceparent(),
        "created_at": now(session),
    } | _facts(spec, preflight)
    created = bool(upsert(session, JobRow, [row], ["idempotency_key"], update=[], returning=[JobRow.id]))
    if created:
        first = [plan_check() if preflight is None else _first_chunk(kind, preflight)]
        chunks.add(session, row["id"], spec.priority, plans or first)
    return row["id"] if created else None


def _first_chunk(kind: str, preflight: "Preflight") -> ChunkPlan:
    return plan_measure() if kind == JobKind.CHECK else plan_prepare(preflight.fingerprint)


def _write_control(session: Session, spec: JobSpec, preflight: "Preflight", job_id: str, owner: str | None) -> None:
    if "random_weights" in spec.controls and spec.subject.weights == "trained":
        _write(session, _random_weights(spec), preflight, control_of=job_id, owner=owner)


def _facts(spec: JobSpec, preflight: "Preflight | None") -> dict[str, Any]:
    """Return the job's columns about its files, as far as known."""
    ranges = spec.feature_ranges()
    features = None if preflight is None else preflight.n_features
    return {
        "features_total": features if ranges is None else sum(count(ranges) * one.dictionary.sides for one in spec.each),
        "warnings": merged((), () if preflight is None else preflight.warnings),
        "corpus": None if preflight is None else preflight.corpus,
    }


get = queries.job


def hold(session: Session, job_id: str) -> JobRow:
    """Return the job with its row locked (serial changes), or raise NotFoundError."""
    locked = select(JobRow).where(JobRow.id == job_id).with_for_update(key_share=True).execution_options(populate_existing=True)
    return session.scalars(locked).first() or get(session, job_id)


def start(session: Session, job_id: str) -> None:
    """Mark a queued job running at its first chunk; a paused job stays paused."""
    _move(session, job_id, JobStatus.RUNNING, JobRow.status == JobStatus.QUEUED, started_at=now(session))


def complete(session: Session, job_id: str, summary: dict[str, Any]) -> None:
    """Complete a job, whose last chunk is done, and its run."""
    if _move(session, job_id, JobStatus.COMPLETED, summary=summary, finished_at=now(session)):
        # In the order of their numbers: jobs with the same runs must not wait for each other.
        for run_id in sorted(runs_of(session, job_id)):
            runs.complete(session, run_id)


def fail(session: Session, job_id: str, problem: dict[str, Any]) -> None:
    """Fail a job: unleased chunks are cancelled, and workers notice at their next heartbeat."""
    if _move(session, job_id, JobStatus.FAILED, error=problem, finished_at=now(session)):
        chunks.cancel_open(session, job_id)


def cancel(session: Session, job_id: str) -> JobRow:
    """Cancel a job, at once where no worker has a lease, else by its workers.

    Repeating it changes nothing. Raises NotFoundError, and ConflictError for a job that has completed or failed.
    """
    job = hold(session, job_id)
    if job.status in JOB_ENDS - {JobStatus.CANCELLED}:
        raise ConflictError(f"Job {job_id} has {job.status} and cannot be cancelled.", job=job_id, status_of_job=job.status)
    if job.status in sources_of(JobStatus.CANCELLED) - {JobStatus.CANCELLING}:
        chunks.cancel_open(session, job_id)
        moment = now(session)
        if chunks.any_leased(session, job_id):
            _move(session, job_id, JobStatus.CANCELLING, cancelling_at=moment)
        else:
            _move(session, job_id, JobStatus.CANCELLED, cancelling_at=moment, finished_at=moment)
    return get(session, job_id)


def pause(session: Session, job_id: str, problem: dict[str, Any] | None = None) -> JobRow:
    """Pause a job: none of its chunks is claimed, and workers return theirs.

    `problem` is the reason, if not the user's wish. Raises NotFoundError, and ConflictError for a job that is over, being cancelled or still checked.
    """
    job = hold(session, job_id)
    if job.status not in sources_of(JobStatus.PAUSED) | {JobStatus.PAUSED}:
        raise ConflictError(f"Job {job_id} is {job.status} and cannot be paused.", job=job_id, status_of_job=job.status)
    if job.status != JobStatus.PAUSED:
        _move(session, job_id, JobStatus.PAUSED, pause_reason=storable(problem), paused_at=now(session))
    return get(session, job_id)


def resume(session: Session, job_id: str, budget: BudgetSpec | None = None) -> JobRow:
    """Resume a paused job, with other caps if given; notify workers afterwards.

    A running job gets the caps alone. Answers are kept, so nothing is paid for twice. Its random-weights control, paused on the same budget, resumes
    with it. Raises NotFoundError, and ConflictError for a job that is over or being cancelled, or whose workers may still spend uncounted amounts.
    """
    job = hold(session, job_id)
    if job.status not in (JobStatus.PAUSED, *WORKABLE):
        raise ConflictError(f"Job {job_id} is {job.status} and cannot be resumed.", job=job_id, status_of_job=job.status)
    if budget is not None:
        _set_budget(session, job_id, budget)
    control = control_of(session, job_id)
    for paused in (job, hold(session, control.id) if control else None):
        if paused is not None and paused.status == JobStatus.PAUSED:
            target = JobStatus.RUNNING if paused.started_at else JobStatus.QUEUED
            if paused.paused_at is not None and paused.started_at is not None:
                paused_time.count_pause(session, paused.id, paused.paused_at)
            _move(session, paused.id, target, JobRow.status == JobStatus.PAUSED, pause_reason=None, paused_at=None)
            chunks.forget_notifications(session, paused.id)
    return get(session, job_id)


def retry(session: Session, job_id: str) -> JobRow:
    """Retry what failed of a job; notify workers afterwards.

    Unusable answers are asked for again. Raises NotFoundError, and ConflictError where nothing failed, or the job is paused or (being) cancelled.
    """
    job = hold(session, job_id)
    if job.status not in (JobStatus.RUNNING, JobStatus.FAILED, JobStatus.COMPLETED):
        raise ConflictError(
            f"Job {job_id} is {job.status}: nothing of it can be tried again now.",
            cure="Resume a job that is paused first; a job that was cancelled is submitted anew.",
            job=job_id,
            status_of_job=job.status,
        )
    states = chunks.states(session, job_id)
    found = reopening(states)
    if not found.ready and not found.waiting:
        why = "Nothing of it failed, or its chunks were cleared away since."
        raise ConflictError(f"Job {job_id} has nothing to try again.", why=why, job=job_id, status_of_job=job.status)
    reply_cache.forget(session, reply_cache.unusable(session, job_id, runs_of(session, job_id)))
    reopened = {*found.ready, *found.waiting}
    paused_time.count_rest(session, job_id, {state.stage for state in states if state.id in reopened}, job.finished_at if job.started_at else None)
    for target, chunk_ids in ((ChunkStatus.READY, found.ready), (ChunkStatus.WAITING, found.waiting)):
        chunks.reopen(session, target, chunk_ids)
    session.execute(update(JobRow).where(JobRow.id == job_id).values(features_failed=max(job.features_failed - found.features, 0)))
    if job.status in JOB_ENDS:
        _move(session, job_id, _target_of_retry(job, states, reopened), error=None, pause_reason=None, summary=None, finished_at=None)
    return get(session, job_id)


def settle(session: Session, job_id: str) -> None:
    """Cancel a job that is being cancelled, once its last leased chunk was returned."""
    job = hold(session, job_id)
    if job.status == JobStatus.CANCELLING and not chunks.any_leased(session, job_id):
        _move(session, job_id, JobStatus.CANCELLED, finished_at=now(session))


def attach(session: Session, job_id: str, found: Sequence[tuple[int, int]], features: int) -> None:
    """Write prepare's results: each dictionary's id and run, and the number of features of all."""
    dictionary_id, run_id = found[0]
    values = {"dictionary_id": dictionary_id, "run_id": run_id, "features_total": features}
    session.execute(update(JobRow).where(JobRow.id == job_id).values(values))
    rows = [{"job_id": job_id, "place": place, "run_id": run_id} for place, (_, run_id) in enumerate(found)]
    upsert(session, JobRunRow, rows, keys=["job_id", "place"], update=["run_id"])


def runs_of(session: Session, job_id: str) -> list[int]:
    """Return the runs of the job's dictionaries in order; none before they are known."""
    return list(session.scalars(select(JobRunRow.run_id).where(JobRunRow.job_id == job_id).order_by(JobRunRow.place)))


def of_both(session: Session, first: int, second: int) -> list[str]:
    """Return the jobs that made or added to both runs."""
    other = aliased(JobRunRow)
    statement = select(JobRunRow.job_id).join(other, other.job_id == JobRunRow.job_id)
    return list(session.scalars(statement.where(JobRunRow.run_id == first, other.run_id == second).order_by(JobRunRow.job_id)))


def warn(session: Session, job_id: str, warnings: Sequence[JobWarning]) -> None:
    """Add warnings to a job's, replacing those of the same code."""
    if warnings:
        known = session.execute(select(JobRow.warnings).where(JobRow.id == job_id)).scalar_one()
        session.execute(update(JobRow).where(JobRow.id == job_id).values(warnings=merged(known or (), warnings)))


def amend(session: Session, job_id: str, summary: dict[str, Any]) -> None:
    """Replace the summary of a completed job, whose row the caller has locked."""
    session.execute(update(JobRow).where(JobRow.id == job_id, JobRow.status == JobStatus.COMPLETED).values(summary=summary))


def count_failed(session: Session, job_id: str, features: int) -> None:
    """Add to the count of a job's features that could not be explained."""
    if features:
        session.execute(update(JobRow).where(JobRow.id == job_id).values(features_failed=JobRow.features_failed + features))


def _target_of_retry(job: JobRow, states: Sequence[ChunkState], reopened: set[str]) -> JobStatus:
    """Return the status of an ended job once these chunks are open again."""
    if any(state.stage == Stage.CHECK for state in states if state.id in reopened):
        return JobStatus.CHECKING
    return JobStatus.RUNNING if job.started_at else JobStatus.QUEUED


def _set_budget(session: Session, job_id: str, budget: BudgetSpec) -> None:
    known = budgets.get(session, job_id)
    if (known is None or not known.has_cap) and chunks.any_leased(session, job_id):
        raise ConflictError(
            f"Job {job_id} has no cap yet, and a worker is still busy with it.",
            why="What its calls in flight cost is not counted, so that a cap could be passed.",
            cure="Pause the job, and try again as soon as its workers have let go.",
            job=job_id,
        )
    budgets.set_caps(session, job_id, budget)


def _random_weights(spec: JobSpec) -> JobSpec:
    """Return the job on a random subject; a named dictionary becomes `model-random@layer-set`."""
    subject = spec.subject.model_copy(update={"weights": "random"})
    dictionaries = [
        one.dictionary.model_copy(update={"name": one.dictionary.name.replace("@", "-random@", 1)}) if one.dictionary.name else one.dictionary
        for one in spec.each
    ]
    controls = tuple(name for name in spec.controls if name != "random_weights")
    return spec.with_dictionaries(dictionaries).model_copy(update={"subject": subject, "controls": controls})


def _digest(spec: JobSpec, kind: JobKind) -> str:
    content = spec.model_dump(mode="json") | ({} if kind == JobKind.JOB else {"kind": kind})
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _move(session: Session, job_id: str, target: JobStatus, *where: ColumnElement[bool], **values: Any) -> bool:
    statement = update(JobRow).where(JobRow.id == job_id, JobRow.status.in_(sources_of(target)), *where).values(status=target, **values)
    moved = chunks.changed_rows(session.execute(statement.execution_options(synchronize_session=False))) == 1
    if moved:
        webhooks.changed(session, job_id, target)
    return moved


def _stored_key(key: str, owner: str | None) -> str:
    """Return the column's value: one owner's key is never another's job."""
    return key if owner is None else hashlib.sha256(f"{owner}\0{key}".encode()).hexdigest()


def _same_request(session: Session, key: str, spec: JobSpec, kind: JobKind, owner: str | None) -> JobRow:
    job = session.scalars(select(JobRow).where(JobRow.idempotency_key == _stored_key(key, owner))).one()
    if job.request_digest != _digest(spec, kind):
        raise ConflictError(
            f"The idempotency key {key!r} belongs to another request.",
            why=f"It was used for job {job.id}, with other settings.",
            cure="Send a new key with a new request.",
            job=job.id,
        )
    return job
