"""The one way a chunk is worked on: lease, task, results and end of the chunk in one transaction. Needs no Celery."""

import importlib
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from interp.domain.errors import ActivationsNotFiniteError, InputError, JobPausedError, LeaseLostError, WorkInterruptedError, problem_of
from interp.domain.lifecycle import Queue, Stage
from interp.domain.spec import JobSpec
from interp.files.atomic import disk_full
from interp.observability import logs, traces
from interp.observability.import_time import without_collecting
from interp.security import allowed_files
from interp.security.allowed_files import Roots
from interp.store.db.engine import is_passing, snapshot, transaction
from interp.store.queue import chunks, completion, jobs
from interp.store.queue.chunks import Lease
from workers.runtime.context import Runtime
from workers.runtime.lease_guard import LeaseGuard

log = logs.get_logger(__name__)

# Errors that the next attempt would meet again: the job fails at once.
FATAL = (InputError, ActivationsNotFiniteError)

# The rest between two tries to write to a database that is away.
AGAIN_SECONDS = 1.0

# Where each stage's task lives. By name, so that a worker imports only what its own queue needs: torch stays out of the others.
TASKS = {
    Stage.CHECK: "workers.tasks.check:check",
    Stage.PREPARE: "workers.tasks.collect:prepare",
    Stage.COLLECT: "workers.tasks.collect:collect",
    Stage.COMBINE: "workers.tasks.collect:combine",
    Stage.MERGE: "workers.tasks.collect:merge",
    Stage.EXPLAIN: "workers.tasks.llm_tasks:explain",
    Stage.SCORE: "workers.tasks.llm_tasks:score",
    Stage.SUMMARISE: "workers.tasks.llm_tasks:summarise",
}


# Opened by a task around what waits for language models: other chunks may use the processor meanwhile.
Asking = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True)
class Work:
    """What a task is given. `asking` is held open while the task waits for language models. `is_kept` says, without a look at the
    database, whether the chunk is still surely this worker's."""

    runtime: Runtime
    lease: Lease
    spec: JobSpec
    run: int | None
    progress: Callable[[int], None]
    asking: Asking = nullcontext
    is_kept: Callable[[], bool] = lambda: True

    @property
    def run_id(self) -> int:
        """The run that the job's results belong to: `prepare` finds it out, all that comes after has one."""
        if self.run is None:
            raise RuntimeError(f"job {self.lease.job_id} has no run yet")
        return self.run


@dataclass(frozen=True)
class TaskResult:
    """What a task gives back. `write` puts the results into the transaction that finishes the chunk, and returns the chunk's result.

    `afterwards` runs after that commit; a worker that dies before it leaves the rest to upkeep.
    """

    write: Callable[[Session], dict[str, Any] | None]
    afterwards: Callable[[], None] | None = None


Task = Callable[[Work], TaskResult]


def run_chunk(runtime: Runtime, of: Queue, chunk_id: str | None = None, asking: Asking = nullcontext) -> bool:
    """Works on the chunk a doorbell named, or on the next ready one of the queue. False when there was none to take.

    Whatever happens to the work is written on the chunk and its job. What comes out is that this worker cannot work just now: the database is
    away, or a disk is full (DiskFull). Its chunk goes back, if need be when the lease runs out, and nothing is counted against it.
    """
    with transaction(runtime.engine) as session:
        loaded = runtime.presence.report.loaded_models
        patience = runtime.settings.model_affinity_seconds
        lease = chunks.claim(session, of, runtime.owner, runtime.settings.lease_seconds, chunk_id, loaded, patience)
    if lease is None:
        return False
    with logs.bound(job=lease.job_id, chunk=lease.chunk_id, stage=lease.stage, number=lease.number, attempt=lease.attempt):
        _carry_out(runtime, lease, asking)
    return True


def _carry_out(runtime: Runtime, lease: Lease, asking: Asking) -> None:
    """Works on the chunk, and lets go of it however that ends."""
    try:
        if lease.starts_job:
            _write(runtime, lambda session: jobs.start(session, lease.job_id))
        with disk_full(runtime.settings.home):
            _work(runtime, lease, asking)
    except LeaseLostError as error:
        log.info("lease lost", why=str(error))
        _hand_back(runtime, lease)
    except WorkInterruptedError as error:
        log.info("chunk handed back", why=str(error))
        _hand_back(runtime, lease)
    except JobPausedError as error:
        log.warning("job pauses", why=str(error))
        _pause(runtime, lease, problem_of(error))
    except FATAL as error:
        log.error("chunk failed, and no other try would help", why=str(error))
        _fail(runtime, lease, problem_of(error), max_attempts=0)
    except Exception as error:  # whatever a task raises is kept on the chunk, with its traceback, and tried again
        if is_passing(error):
            log.warning("chunk handed back", why=str(error))
            _hand_back(runtime, lease, problem_of(error))
            raise
        log.exception("attempt failed")
        problem = problem_of(error) | {"traceback": traceback.format_exc(), "attempt": lease.attempt}
        _fail(runtime, lease, problem, runtime.settings.max_attempts)


def drain(runtime: Runtime, *queues: Queue) -> int:
    """Works in this process until nothing is ready on the queues; returns how many chunks that took."""
    taken = 0
    while any(run_chunk(runtime, name) for name in queues):
        taken += 1
    return taken


def _work(runtime: Runtime, lease: Lease, asking: Asking) -> None:
    with snapshot(runtime.engine) as session:
        job = jobs.get(session, lease.job_id)
        spec, run, parent = JobSpec.model_validate(job.spec), job.run_id, job.traceparent
    began = time.monotonic()
    log.debug("chunk begins", units=lease.units)
    with traces.within(parent), traces.span(f"{lease.stage} chunk", _attributes(lease)), LeaseGuard(runtime, lease) as hold:
        # Held again, where it is read: what stands in the database was not let in by this machine's settings.
        with allowed_files.within(Roots.of(runtime.settings)):
            outcome = _task(lease.stage)(Work(runtime, lease, spec, run, hold.progress, asking, hold.is_kept))
        _write(runtime, lambda session: completion.finish(session, lease, outcome.write(session)))
        log.info("chunk done", units=lease.units, seconds=round(time.monotonic() - began, 3))
    if outcome.afterwards:
        outcome.afterwards()


def _attributes(lease: Lease) -> dict[str, traces.Value]:
    return {
        "glossator.job": lease.job_id,
        "glossator.chunk": lease.chunk_id,
        "glossator.stage": lease.stage.value,
        "glossator.number": lease.number,
        "glossator.attempt": lease.attempt,
    }


def _task(stage: Stage) -> Task:
    module, _, name = TASKS[stage].partition(":")
    with without_collecting():
        task: Task = getattr(importlib.import_module(module), name)
    return task


def _hand_back(runtime: Runtime, lease: Lease, problem: dict[str, Any] | None = None) -> None:
    _let_go(runtime, lambda session: completion.hand_back(session, lease, problem))


def _pause(runtime: Runtime, lease: Lease, problem: dict[str, Any]) -> None:
    _let_go(runtime, lambda session: completion.pause(session, lease, problem))


def _fail(runtime: Runtime, lease: Lease, problem: dict[str, Any], max_attempts: int) -> None:
    _let_go(runtime, lambda session: completion.fail(session, lease, problem, max_attempts))


def _let_go(runtime: Runtime, write: Callable[[Session], object]) -> None:
    try:
        _write(runtime, write)
    except LeaseLostError:
        log.info("chunk has another owner already")


def _write(runtime: Runtime, write: Callable[[Session], object]) -> None:
    """One transaction, tried again as long as the database is away and this process does not stop.

    Work that is done is not lost to a database that restarts. Where a commit had come through although its answer did not, the lease is over, and
    trying again raises LeaseLost: nothing is written twice.
    """
    while True:
        try:
            with transaction(runtime.engine) as session:
                write(session)
            return
        except DBAPIError as error:
            if not is_passing(error) or runtime.stopping.wait(AGAIN_SECONDS):
                raise
            log.warning("the database is away, what is to be written waits", why=str(error))
