"""End chunks, and change their jobs accordingly. Each function is one transaction's work, and locks the job's row first."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from interp.domain.errors import GlossatorError, LeaseLostError, problem_of
from interp.domain.lifecycle import WORKABLE, JobStatus, Stage, sources_of
from interp.planning.retry_plan import EXPENDABLE
from interp.store.db.engine import snapshot, transaction
from interp.store.queue import budgets, chunks, jobs
from interp.store.queue.chunks import Lease, Released

# A paused job keeps what was done for it, and its chunks.
ALIVE = frozenset({*WORKABLE, JobStatus.PAUSED})


class WorkersLostError(GlossatorError, code="workers-lost", title="The chunk's workers died"):
    """Every worker that took the chunk died."""


def finish(session: Session, lease: Lease, result: dict[str, Any] | None) -> Released:
    """Mark the chunk done and release what waited for it. The end of summarise completes the job, with `result` as its summary.

    Call it last in the transaction that writes the chunk's results. Raises LeaseLostError when they must not be written: a job that was paused
    meanwhile takes them, since they are paid for, but is not completed.
    """
    job = jobs.hold(session, lease.job_id)
    if job.status not in (WORKABLE if lease.stage == Stage.SUMMARISE else ALIVE):
        raise LeaseLostError(f"job {lease.job_id} is {job.status}")
    chunks.done(session, lease, result)
    budgets.close_lease(session, lease.token)
    if lease.stage == Stage.SUMMARISE:
        jobs.complete(session, lease.job_id, result or {})
    return chunks.release_waiting(session, lease)


def fail(session: Session, lease: Lease, problem: dict[str, Any], max_attempts: int) -> None:
    """Return the chunk to the queue while attempts are left; then fail it, and its job too unless that can go on without.

    `max_attempts` 0: no retry would help, and the job cannot go on. A paused job's chunk goes back whatever happened: it is tried again once the
    job goes on. Raises LeaseLostError.
    """
    job = jobs.hold(session, lease.job_id)
    if job.status == JobStatus.PAUSED:
        chunks.again(session, lease, problem, counts=False)
    elif job.status not in WORKABLE:
        _cancelled(session, lease)
    elif lease.attempt < max_attempts:
        chunks.again(session, lease, problem, counts=True)
    else:
        chunks.failed(session, lease, problem)
        if max_attempts == 0 or lease.stage not in EXPENDABLE:
            jobs.fail(session, lease.job_id, _of_job(problem, lease))
        else:
            jobs.count_failed(session, lease.job_id, lease.units)
            chunks.release_waiting(session, lease)
    budgets.close_lease(session, lease.token)


def pause(session: Session, lease: Lease, problem: dict[str, Any]) -> None:
    """Pause the job with the problem that stops all its chunks, and return this one uncounted. Raises LeaseLostError."""
    job = jobs.hold(session, lease.job_id)
    if job.status in sources_of(JobStatus.PAUSED):
        jobs.pause(session, lease.job_id, _of_job(problem, lease))
    hand_back(session, lease)


def hand_back(session: Session, lease: Lease, problem: dict[str, Any] | None = None) -> None:
    """Return the chunk of a worker that stops to the queue, or cancel it with its job. Raises LeaseLostError.

    `problem` says why, where something is wrong with the worker's machine.
    """
    job = jobs.hold(session, lease.job_id)
    if job.status in ALIVE:
        chunks.again(session, lease, problem, counts=False)
    else:
        _cancelled(session, lease)
    budgets.close_lease(session, lease.token)


def sweep(engine: Engine, is_gone: Callable[[str], bool], max_lost_leases: int) -> int:
    """Return chunks whose workers are silent or gone to the queue; return how many. One that lost `max_lost_leases` workers fails."""
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
    """Close the leases that are over and still have a reservation; return how many.

    No way to end a lease leaves any: room that is never given back would keep a job waiting for ever.
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
    chunks.cancelled(session, lease)
    jobs.settle(session, lease.job_id)


def _of_job(problem: dict[str, Any], lease: Lease) -> dict[str, Any]:
    """The problem as a user sees it: without the traceback."""
    return {key: value for key, value in problem.items() if key != "traceback"} | {"stage": lease.stage, "chunk": lease.number}
