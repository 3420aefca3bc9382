"""End chunks and change their jobs; each function locks the job's row first."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from interp.domain.errors import GlossatorError, LeaseLostError, problem_of
from interp.domain.lifecycle import LAST_STAGES, WORKABLE, ChunkStatus, JobStatus, Stage, sources_of
from interp.planning.retry_plan import COUNTED_LATER, EXPENDABLE
from interp.store.db.engine import snapshot, transaction
from interp.store.queue import budgets, chunks, jobs
from interp.store.queue.chunks import Lease

# A paused job keeps what was done for it, and its chunks.
ALIVE = frozenset({*WORKABLE, JobStatus.PAUSED})


class WorkersLostError(GlossatorError, code="workers-lost", title="The chunk's workers died"):
    """The error of a chunk whose workers all died."""


def finish(session: Session, lease: Lease, result: dict[str, Any] | None) -> list[str]:
    """Mark the chunk done, return ids it released; a last stage completes the job.

    `result` is then the job's summary. Call it last in the transaction that writes the chunk's results. Raises LeaseLostError when they must not be
    written: a job that was paused meanwhile takes them, since they are paid for, but is not completed.
    """
    job = jobs.hold(session, lease.job_id)
    if job.status not in (WORKABLE if lease.stage in LAST_STAGES else ALIVE):
        raise LeaseLostError(f"job {lease.job_id} is {job.status}")
    chunks.done(session, lease, result)
    budgets.close_lease(session, lease.token)
    if lease.stage in LAST_STAGES:
        jobs.complete(session, lease.job_id, result or {})
    return chunks.release_waiting(session, lease)


def fail(session: Session, lease: Lease, problem: dict[str, Any], max_attempts: int) -> None:
    """Return the chunk to the queue, or fail it when no attempts are left.

    Its job fails too unless it can continue without. `max_attempts` 0: no retry would help, and the job can continue without a map or a health report
    alone. A paused job's chunk always returns to the queue: it is tried again once the job resumes. Raises LeaseLostError.
    """
    job = jobs.hold(session, lease.job_id)
    if job.status == JobStatus.PAUSED:
        chunks.again(session, lease, problem, counts=False)
    elif job.status not in WORKABLE:
        _cancelled(session, lease)
    elif lease.attempt < max_attempts:
        chunks.again(session, lease, problem, counts=True)
    else:
        chunks.end(session, lease, ChunkStatus.FAILED, error=problem)
        if lease.stage == Stage.MAP or (lease.stage == Stage.HEALTH and job.spec["explainers"]):
            # Labels, which may have been paid for, are not lost with a map or a report. The summary says that it is missing.
            chunks.release_waiting(session, lease)
        elif max_attempts == 0 or lease.stage not in EXPENDABLE:
            jobs.fail(session, lease.job_id, _of_job(problem, lease))
        else:
            if lease.stage not in COUNTED_LATER:
                jobs.count_failed(session, lease.job_id, lease.units)
            chunks.release_waiting(session, lease)
    budgets.close_lease(session, lease.token)


def pause(session: Session, lease: Lease, problem: dict[str, Any]) -> None:
    """Pause the job with a problem, and return this chunk uncounted, or raise LeaseLostError."""
    job = jobs.hold(session, lease.job_id)
    if job.status in sources_of(JobStatus.PAUSED):
        jobs.pause(session, lease.job_id, _of_job(problem, lease))
    hand_back(session, lease)


def hand_back(session: Session, lease: Lease, problem: dict[str, Any] | None = None) -> None:
    """Requeue a stopping worker's chunk, or cancel it with its job, or raise LeaseLostError.

    `problem` says what is wrong with the worker's machine, if anything.
    """
    job = jobs.hold(session, lease.job_id)
    if job.status in ALIVE:
        chunks.again(session, lease, problem, counts=False)
    else:
        _cancelled(session, lease)
    budgets.close_lease(session, lease.token)


def sweep(engine: Engine, is_gone: Callable[[str], bool], max_lost_leases: int) -> int:
    """Requeue chunks of lost workers, or fail them after `max_lost_leases`; return how many."""
    with snapshot(engine) as session:
        suspects = chunks.expired(session, is_gone)
    taken = 0
    for suspect in suspects:
        with transaction(engine) as session:
            jobs.hold(session, suspect.job_id)
            for lease in chunks.expired(session, is_gone, suspect.chunk_id):
                fail(session, lease, _lost(lease), max_lost_leases)
                taken += 1
    return taken


def close_orphans(engine: Engine) -> int:
    """Close ended leases that still have a reservation; return how many.

    No way to end a lease leaves any: a reservation that is never returned would keep a job waiting for ever.
    """
    with snapshot(engine) as session:
        tokens = budgets.orphans(session)
    for token in tokens:
        with transaction(engine) as session:
            budgets.close_lease(session, token)
    return len(tokens)


def _lost(lease: Lease) -> dict[str, Any]:
    return problem_of(
        WorkersLostError(
            f"{lease.attempt} workers died or fell silent on {lease.stage} chunk {lease.number}, the last one {lease.owner}.",
            cure="Look for an out-of-memory kill in the system's log; smaller chunks or batches need less.",
        )
    )


def _cancelled(session: Session, lease: Lease) -> None:
    chunks.end(session, lease, ChunkStatus.CANCELLED)
    jobs.settle(session, lease.job_id)


def _of_job(problem: dict[str, Any], lease: Lease) -> dict[str, Any]:
    """Return the problem as a user sees it: without the traceback."""
    return {key: value for key, value in problem.items() if key != "traceback"} | {"stage": lease.stage, "chunk": lease.number}
