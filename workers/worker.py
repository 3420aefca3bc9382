"""Run chunks: claim one, run its task under a renewed lease, finish it, repeat.

`Worker` is the loop of a process. `run_chunk` is one turn of it, and needs neither Celery nor a process of its own.
"""

import importlib
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from queue import Empty, SimpleQueue
from typing import Concatenate, ParamSpec

from interp.domain.errors import (
    ActivationsNotFiniteError,
    DiskFullError,
    InputError,
    JobPausedError,
    LeaseLostError,
    WorkInterruptedError,
    problem_of,
)
from interp.domain.lifecycle import QUEUE_OF, Queue, Stage
from interp.domain.spec import JobSpec
from interp.files.atomic import disk_full
from interp.observability import logs, traces
from interp.observability.import_time import without_collecting
from interp.security import allowed_files, uploads
from interp.security.allowed_files import Roots
from interp.store.access.quotas import QuotaError
from interp.store.db import revision
from interp.store.db.engine import DBAPIError, Engine, Session, SQLAlchemyError, is_transient, snapshot, transaction
from interp.store.queue import chunks, completion, jobs
from interp.store.queue.chunks import Lease
from workers.runtime import HAND_BACK_SECONDS, Runtime, Task, Work
from workers.uploads import bring
from workers.wakeup import notify

log = logs.get_logger(__name__)

P = ParamSpec("P")

# Errors that the next attempt would repeat: the job fails at once.
FATAL = (InputError, ActivationsNotFiniteError, QuotaError)
# The pause after the database was unreachable: for a worker without a chunk, and for one whose results wait to be written.
POLL_AGAIN_SECONDS, WRITE_AGAIN_SECONDS = 2.0, 1.0
# Celery takes no message while a task runs, and up to a second after: the worker polls often then.
CELERY_PAUSE_SECONDS, OFTEN_SECONDS = 1.5, 0.2
HELPER_POLL_SECONDS = 0.5

# The module of each stage's task, by name, so that a worker imports only what its own queue needs, and torch only for gpu.
TASKS = {
    Stage.CHECK: "workers.tasks.check:check",
    Stage.MEASURE: "workers.tasks.measure:measure",
    Stage.HEALTH: "workers.tasks.health:health",
    Stage.MAP: "workers.tasks.health:feature_map",
    Stage.PREPARE: "workers.tasks.prepare:prepare",
    Stage.COLLECT: "workers.tasks.collect:collect",
    Stage.COMBINE: "workers.tasks.collect:combine",
    Stage.MERGE: "workers.tasks.collect:merge",
    Stage.PROPOSE: "workers.tasks.write:propose",
    Stage.TRY: "workers.tasks.probe:try_texts",
    Stage.EXPLAIN: "workers.tasks.explain:explain",
    Stage.WRITE: "workers.tasks.write:write",
    Stage.PROBE: "workers.tasks.probe:probe",
    Stage.SCORE: "workers.tasks.score:score",
    Stage.SUMMARISE: "workers.tasks.summarise:summarise",
}


class Worker:
    """A thread that runs the ready chunks of one queue, one after another.

    The thread asks the database for work on a notification, and every `poll_interval_seconds`: a broker may be unreachable, be emptied, or have a
    consumer that gets nothing any more after a restart.
    """

    def __init__(self, runtime: Runtime, queue: Queue) -> None:
        self._runtime, self._queue = runtime, queue
        self._notifications: SimpleQueue[tuple[str | None, threading.Event]] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)
        self._revision = RevisionCheck(runtime.engine, runtime.settings.poll_interval_seconds)
        helpers = runtime.settings.llm_worker_threads - 1 if queue is Queue.LLM else 0
        self._helpers = HelperThreads(helpers, lambda: self._run_next(None), runtime.stopping)

    def start(self) -> None:
        self._thread.start()

    def notified(self, chunk_id: str | None) -> None:
        """Ask for work now, and return when none is left or the process stops.

        Celery's thread waits here, so that a busy process leaves other notifications to idle ones.
        """
        done = threading.Event()
        self._notifications.put((chunk_id, done))
        while not (done.wait(OFTEN_SECONDS) or self._runtime.stopping.is_set()):
            pass

    def join(self) -> None:
        """Wait, after `stop`, until every chunk in work is returned."""
        self._notifications.put((None, threading.Event()))
        self._thread.join()
        self._helpers.join()

    def _run(self) -> None:
        poll = pause = self._runtime.settings.poll_interval_seconds
        often_until = 0.0
        while not self._runtime.stopping.is_set():
            try:
                chunk_id, done = self._notifications.get(timeout=pause)
            except Empty:
                is_well = self._run_ready(None)
            else:
                is_well = self._run_ready(chunk_id)
                done.set()
                often_until = time.monotonic() + CELERY_PAUSE_SECONDS
            pause = min(poll, POLL_AGAIN_SECONDS if not is_well else OFTEN_SECONDS if time.monotonic() < often_until else poll)

    def _run_ready(self, chunk_id: str | None) -> bool:
        """Run chunks until none is ready; return False where this worker cannot work now."""
        try:
            while not self._runtime.stopping.is_set() and self._revision.fits() and self._run_next(chunk_id):
                chunk_id = None
        except (SQLAlchemyError, DiskFullError) as error:
            log.error("this worker cannot work just now, it tries again later", why=str(error))
            return False
        except Exception:  # a worker whose loop had ended would be alive and do nothing
            log.exception("this worker met an unexpected error, it tries again later")
            return False
        return True

    def _run_next(self, chunk_id: str | None) -> bool:
        has_run = run_chunk(self._runtime, self._queue, chunk_id, self._helpers.asking)
        if has_run:
            notify(self._runtime.engine, self._runtime.settings)
        return has_run


class RevisionCheck:
    """Whether the database is at this version, looked up at most once in some seconds.

    Tables may be upgraded while a worker of the version before runs: it takes no work until it is replaced, or the tables are put back.
    """

    def __init__(self, engine: Engine, seconds: float) -> None:
        self._engine, self._seconds = engine, seconds
        self._next, self._fault = 0.0, False

    def fits(self) -> bool:
        """Return whether this version may work on the tables; log one line when that ends."""
        if time.monotonic() >= self._next:
            fault = revision.unfit(self._engine)
            if fault is not None and not self._fault:
                log.error("this worker takes no more work", what=fault.what, why=fault.why, cure=fault.cure)
            self._next, self._fault = time.monotonic() + self._seconds, fault is not None
        return not self._fault


class HelperThreads:
    """At most `number` threads for more chunks, while one waits for a language model.

    Celery's own pool stays at one thread: with more of them, a process that is busy computing would take notifications, and chunks, from idle ones.
    `run_next` runs the next ready chunk, and returns whether there was one.
    """

    def __init__(self, number: int, run_next: Callable[[], bool], stopping: threading.Event) -> None:
        self._number, self._run_next, self._stopping = number, run_next, stopping
        self._lock = threading.Lock()
        self._asking = 0
        self._threads: list[threading.Thread] = []

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Let the helpers run during the block, which waits for a language model."""
        with self._lock:
            self._asking += 1
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            missing = 0 if self._stopping.is_set() else self._number - len(self._threads)
            new = [threading.Thread(target=self._run, name=f"helper-{place}") for place in range(missing)]
            self._threads += new
        for thread in new:
            thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._asking -= 1

    def join(self) -> None:
        """Wait, when the process stops, until every helper has returned its chunk."""
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set() and self._asking:
            try:
                if not self._run_next():
                    self._stopping.wait(HELPER_POLL_SECONDS)
            except (SQLAlchemyError, DiskFullError) as error:
                log.error("the database cannot be used, a helper ends", why=str(error))
                return


def run_chunk(runtime: Runtime, queue: Queue, chunk_id: str | None = None, asking: Callable[[], AbstractContextManager[None]] = nullcontext) -> bool:
    """Run the queue's next ready chunk to its end; return False where there is none.

    `chunk_id` is the chunk of a notification, which is answered with this. However the task ends is written on the chunk and its job. An error that
    is raised says that this worker cannot work now: the database is unreachable, or a disk is full. Its chunk returns to the queue, at the latest
    when the lease runs out, and this counts as no attempt.
    """
    settings = runtime.settings
    with transaction(runtime.engine) as session:
        loaded = runtime.info.loaded_models
        lease = chunks.claim(session, queue, runtime.owner, settings.lease_seconds, chunk_id, loaded, settings.model_affinity_seconds)
    if lease is None:
        return False
    with logs.bound(job=lease.job_id, chunk=lease.chunk_id, stage=lease.stage, number=lease.number, attempt=lease.attempt):
        try:
            if lease.starts_job:
                _write(runtime, jobs.start, lease.job_id)
            with disk_full(settings.home):
                _run_task(runtime, lease, asking)
        except (LeaseLostError, WorkInterruptedError) as error:
            log.info("chunk handed back", why=str(error))
            _end(runtime, completion.hand_back, lease)
        except JobPausedError as error:
            log.warning("job pauses", why=str(error))
            _end(runtime, completion.pause, lease, problem_of(error))
        except FATAL as error:
            log.error("chunk failed, and no other attempt would help", why=str(error))
            _end(runtime, completion.fail, lease, problem_of(error), 0)
        except Exception as error:  # any error of a task is stored on the chunk, with its traceback, and retried
            if is_transient(error):
                log.warning("chunk handed back", why=str(error))
                _end(runtime, completion.hand_back, lease, problem_of(error))
                raise
            log.exception("attempt failed")
            problem = problem_of(error) | {"traceback": traceback.format_exc(), "attempt": lease.attempt}
            _end(runtime, completion.fail, lease, problem, settings.max_attempts)
    return True


def drain(runtime: Runtime, *queues: Queue) -> int:
    """Run chunks in this process until the queues have none ready; return how many."""
    number = 0
    while any(run_chunk(runtime, queue) for queue in queues):
        number += 1
    return number


def stop(runtime: Runtime) -> None:
    """End the process within `stop_timeout_seconds` and `HAND_BACK_SECONDS`; a second call changes nothing.

    Tasks return their chunks between two batches or calls. For those that reach no such point this does it, and ends the process.
    """
    if runtime.stopping.is_set():
        return
    runtime.stopping.set()
    timer = threading.Timer(runtime.settings.stop_timeout_seconds, _hand_back_and_exit, [runtime])
    timer.daemon = True  # a process that ends by itself does not wait for it
    timer.start()


def _run_task(runtime: Runtime, lease: Lease, asking: Callable[[], AbstractContextManager[None]]) -> None:
    """Run the chunk's task under its lease, and write all results in one transaction."""
    with snapshot(runtime.engine) as session:
        job = jobs.get(session, lease.job_id)
        spec, runs, parent = JobSpec.model_validate(job.spec), jobs.runs_of(session, job.id), job.traceparent
    began = time.monotonic()
    log.debug("chunk begins", units=lease.units)
    with traces.within(parent), traces.span(f"{lease.stage} chunk", _attributes(lease)), runtime.leases.hold(lease) as held:
        # Checked again where files are read: the job may have been admitted under another machine's settings.
        with allowed_files.within(Roots.of(runtime.settings)):
            if QUEUE_OF[lease.stage] is Queue.GPU:  # the others read no files
                bring(runtime.engine, runtime.settings, uploads.named_in(spec), lambda: held.progress(0))
            uses_models = QUEUE_OF[lease.stage] is Queue.GPU
            progress = _giving_way(runtime, held.progress) if uses_models else held.progress
            with runtime.turns.chunk() if uses_models else nullcontext():
                result = _task(lease.stage)(Work(runtime, lease, spec, runs, progress, asking, held.is_kept))
        _write(runtime, lambda session: completion.finish(session, lease, result.write(session)))
        log.info("chunk done", units=lease.units, seconds=round(time.monotonic() - began, 3))
    if result.afterwards:
        result.afterwards()


def _giving_way(runtime: Runtime, progress: Callable[[int], None]) -> Callable[[int], None]:
    """Return a progress that lets a live request pass between two batches."""

    def report(units: int) -> None:
        progress(units)
        runtime.turns.give_way()

    return report


def _task(stage: Stage) -> Task:
    module, _, name = TASKS[stage].partition(":")
    with without_collecting():
        task: Task = getattr(importlib.import_module(module), name)
    return task


def _attributes(lease: Lease) -> dict[str, traces.Value]:
    return {
        "glossator.job": lease.job_id,
        "glossator.chunk": lease.chunk_id,
        "glossator.stage": lease.stage.value,
        "glossator.number": lease.number,
        "glossator.attempt": lease.attempt,
    }


def _end(runtime: Runtime, ending: Callable[Concatenate[Session, P], object], *args: P.args, **kwargs: P.kwargs) -> None:
    """Write how the chunk ended, unless another worker has it by now."""
    try:
        _write(runtime, ending, *args, **kwargs)
    except LeaseLostError:
        log.info("chunk has another owner already")


def _write(runtime: Runtime, write: Callable[Concatenate[Session, P], object], *args: P.args, **kwargs: P.kwargs) -> None:
    """Commit one transaction, retried while the database is unreachable and this process runs.

    So a restart of the database loses no results. Where a commit succeeded although its answer was lost, the lease is over, and trying again raises
    LeaseLostError: nothing is written twice.
    """
    while True:
        try:
            with transaction(runtime.engine) as session:
                write(session, *args, **kwargs)
            return
        except DBAPIError as error:
            if not is_transient(error) or runtime.stopping.wait(WRITE_AGAIN_SECONDS):
                raise
            log.warning("the database is away, what is to be written waits", why=str(error))


def _hand_back_and_exit(runtime: Runtime) -> None:
    log.warning("work goes on past the time to stop: its chunks are handed back and the process ends", chunks=len(runtime.leases.all))
    last = threading.Thread(target=_hand_back_all, args=[runtime], daemon=True)
    last.start()
    last.join(HAND_BACK_SECONDS)
    os._exit(0)


def _hand_back_all(runtime: Runtime) -> None:
    for lease in runtime.leases.all:
        try:
            with transaction(runtime.engine) as session:
                completion.hand_back(session, lease)
        except (LeaseLostError, SQLAlchemyError, DiskFullError) as error:
            log.warning("a chunk could not be handed back", chunk=lease.chunk_id, why=str(error))
    runtime.leases.unregister()
