"""A lease is held as long as work goes on, and work stops when the lease, the job or the worker does."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import update

from interp.config.settings import Settings
from interp.domain.errors import InputError, LeaseLostError, WorkInterruptedError
from interp.domain.lifecycle import Queue, Stage
from interp.planning.plan import ChunkPlan
from interp.store.db.engine import make_engine, transaction
from interp.store.db.tables import ChunkRow, WorkerRow
from interp.store.queue import completion, jobs
from tests.store import steps
from workers import worker
from workers.leases import LeaseRenewer
from workers.runtime import Runtime, TaskResult, Work
from workers.worker import run_chunk

DEADLINE = 120.0


def until(condition: Callable[[], bool]) -> None:
    """Waits for the condition; fails after the deadline."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        time.sleep(0.02)


@pytest.fixture
def runtime(database_url: str, tmp_path: Path) -> Runtime:
    settings = Settings(
        home=tmp_path,
        database_url=database_url,
        lease_seconds=1.0,
        heartbeat_interval_seconds=0.2,
        progress_interval_seconds=0.1,
        lease_check_interval_seconds=0.05,
    )
    return Runtime(settings, make_engine(database_url))


def test_the_lease_outlives_its_seconds_while_it_is_held(runtime: Runtime) -> None:
    steps.running(runtime.engine, ChunkPlan(Stage.EXPLAIN, 0, 4))
    lease = steps.take(runtime.engine, Queue.LLM, seconds=1.0)
    begun = steps.chunk(runtime.engine, lease.chunk_id).lease_expires_at
    assert begun is not None
    with runtime.leases.hold(lease) as hold:
        hold.progress(2)
        until(lambda: (steps.chunk(runtime.engine, lease.chunk_id).lease_expires_at or begun) > begun)
        until(lambda: steps.chunk(runtime.engine, lease.chunk_id).units_done == 2)
    steps.finish(runtime.engine, lease)


@pytest.mark.parametrize("how", ["cancelled", "stolen"])
def test_work_stops_between_batches_when_it_is_no_longer_wanted(runtime: Runtime, how: str) -> None:
    job_id = steps.running(runtime.engine, ChunkPlan(Stage.EXPLAIN, 0, 4))
    lease = steps.take(runtime.engine, Queue.LLM, seconds=1.0)
    with runtime.leases.hold(lease) as hold:
        hold.progress(0)
        with transaction(runtime.engine) as session:
            if how == "cancelled":
                jobs.cancel(session, job_id)
            else:
                session.execute(update(ChunkRow).where(ChunkRow.id == lease.chunk_id).values(lease_token="another"))
        with pytest.raises(LeaseLostError):
            until(lambda: hold.progress(1) is not None)


def test_one_thread_keeps_all_leases_of_a_process_and_ends_with_the_last(runtime: Runtime) -> None:
    steps.running(runtime.engine, *(ChunkPlan(Stage.EXPLAIN, number, 4) for number in range(5)))
    leases = [steps.take(runtime.engine, Queue.LLM, seconds=1.0) for _ in range(5)]
    before = threading.active_count()
    with ExitStack() as stack:
        holds = [stack.enter_context(runtime.leases.hold(lease)) for lease in leases]
        assert threading.active_count() == before + 1
        for number, hold in enumerate(holds):
            hold.progress(number)
        until(lambda: [steps.chunk(runtime.engine, lease.chunk_id).units_done for lease in leases] == [0, 1, 2, 3, 4])
    until(lambda: threading.active_count() == before)


def test_of_two_workers_that_believe_they_hold_a_chunk_one_goes_on(runtime: Runtime) -> None:
    """A worker stood still past its lease: somebody else has the chunk when it moves again."""
    job_id = steps.running(runtime.engine, ChunkPlan(Stage.EXPLAIN, 0, 4), ChunkPlan(Stage.SUMMARISE, 0, 1, {}, Stage.EXPLAIN))
    frozen = steps.take(runtime.engine, Queue.LLM, seconds=-1)
    assert completion.sweep(runtime.engine, lambda _owner: False, max_lost_leases=6) == 1
    other = steps.take(runtime.engine, Queue.LLM)
    other_process = Runtime(runtime.settings, runtime.engine, "other")
    with runtime.leases.hold(frozen) as mine, other_process.leases.hold(other) as theirs:
        with pytest.raises(LeaseLostError):
            until(lambda: mine.progress(1) is not None)
        theirs.progress(1)
        for ending in (completion.finish, completion.hand_back):
            with pytest.raises(LeaseLostError), transaction(runtime.engine) as session:
                ending(session, frozen, None)
        steps.finish(runtime.engine, other)
    assert steps.statuses(runtime.engine, job_id)["summarise:0"] == "ready"


def test_time_in_which_a_process_stood_still_counts_before_anybody_looks(runtime: Runtime) -> None:
    steps.running(runtime.engine, ChunkPlan(Stage.EXPLAIN, 0, 4))
    with runtime.leases.hold(steps.take(runtime.engine, Queue.LLM)) as hold:
        hold.progress(1)
        hold.renewed_at -= 2 * runtime.settings.lease_seconds
        with pytest.raises(LeaseLostError, match="not renewed in time"):
            hold.progress(2)


def test_a_wall_clock_that_jumps_loses_no_lease(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    if runtime.engine.dialect.name == "sqlite":
        return  # there this machine's clock decides: embedded workers live and die with it
    steps.running(runtime.engine, ChunkPlan(Stage.EXPLAIN, 0, 4))
    lease = steps.take(runtime.engine, Queue.LLM, seconds=runtime.settings.lease_seconds)
    true_time = time.time
    monkeypatch.setattr(time, "time", lambda: true_time() + 3600)
    begun = steps.chunk(runtime.engine, lease.chunk_id).lease_expires_at
    assert begun is not None
    with runtime.leases.hold(lease) as hold:
        until(lambda: (steps.chunk(runtime.engine, lease.chunk_id).lease_expires_at or begun) > begun)
        hold.progress(1)
        assert completion.sweep(runtime.engine, lambda _owner: False, max_lost_leases=6) == 0


def test_a_process_shows_what_it_has_as_long_as_it_lives(runtime: Runtime) -> None:
    def shown() -> list[WorkerRow]:
        return steps.workers_seen(runtime.engine, 5.0)

    runtime.leases.register()
    until(lambda: bool(shown()))
    runtime.info.memory_bytes, runtime.info.loaded_models = 7, ("models",)
    until(lambda: shown()[0].loaded_models == ["models"])
    assert (shown()[0].owner, shown()[0].memory_bytes) == (runtime.owner, 7)
    runtime.leases.unregister()
    assert shown() == []


def test_work_stops_when_the_worker_stops(runtime: Runtime) -> None:
    steps.running(runtime.engine, ChunkPlan(Stage.EXPLAIN, 0, 4))
    lease = steps.take(runtime.engine, Queue.LLM)
    runtime.stopping.set()
    with runtime.leases.hold(lease) as hold, pytest.raises(WorkInterruptedError):
        hold.progress(1)


def test_a_database_out_of_reach_loses_the_lease_only_after_its_seconds(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    from interp.domain.errors import DiskFullError

    steps.running(runtime.engine, ChunkPlan(Stage.EXPLAIN, 0, 4))
    lease = steps.take(runtime.engine, Queue.LLM)
    calls: list[float] = []

    def unreachable(_leases: LeaseRenewer, _held: object) -> None:
        calls.append(time.monotonic())
        raise DiskFullError("no room")

    monkeypatch.setattr(LeaseRenewer, "_renew", unreachable)
    begun = time.monotonic()
    with runtime.leases.hold(lease) as hold, pytest.raises(LeaseLostError):
        until(lambda: hold.progress(len(calls) + 1) is not None)
    assert time.monotonic() - begun >= runtime.settings.lease_seconds
    assert len(calls) > 1


def _with_task(monkeypatch: pytest.MonkeyPatch, task: Callable[[Work], TaskResult]) -> None:
    monkeypatch.setattr(worker, "_task", lambda _stage: task)


def test_results_and_the_end_of_the_chunk_are_one_transaction(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = steps.running(runtime.engine, ChunkPlan(Stage.EXPLAIN, 0, 4), ChunkPlan(Stage.SUMMARISE, 0, 1, {}, Stage.EXPLAIN))

    def task(work: Work) -> TaskResult:
        def write(session: object) -> dict[str, object]:
            jobs.count_failed(session, job_id, 4)  # type: ignore[arg-type]
            jobs.cancel(session, job_id)  # type: ignore[arg-type]
            return {}

        return TaskResult(write)  # type: ignore[arg-type]

    _with_task(monkeypatch, task)
    assert run_chunk(runtime, Queue.LLM)
    assert steps.look(runtime.engine, job_id).request_counts.failed == 0, "the job was no longer to be worked on, so nothing was written"


def test_errors_are_tried_again_with_their_traceback_kept_and_bad_input_is_not(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = steps.running(runtime.engine, ChunkPlan(Stage.COLLECT, 0, 4))
    attempts: list[int] = []

    def broken(work: Work) -> TaskResult:
        attempts.append(work.lease.attempt)
        raise ZeroDivisionError("surprise")

    _with_task(monkeypatch, broken)
    while run_chunk(runtime, Queue.GPU):
        pass
    found = steps.look(runtime.engine, job_id)
    assert attempts == [1, 2, 3]
    assert found.status == "failed"
    assert found.error is not None
    assert "surprise" in found.error["detail"]
    assert "traceback" not in found.error

    def refuses(work: Work) -> TaskResult:
        attempts.append(work.lease.attempt)
        raise InputError("No such thing.", cure="Name another.")

    _with_task(monkeypatch, refuses)
    job_id = steps.submit(runtime.engine)
    attempts.clear()
    while run_chunk(runtime, Queue.GPU):
        pass
    found = steps.look(runtime.engine, job_id)
    assert attempts == [1]
    assert found.error is not None
    assert (found.status, found.error["code"], found.error["cure"]) == ("failed", "invalid-input", "Name another.")


def test_a_stopping_worker_hands_its_chunk_back(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    steps.running(runtime.engine, ChunkPlan(Stage.EXPLAIN, 0, 4))

    def task(work: Work) -> TaskResult:
        runtime.stopping.set()
        work.progress(1)
        raise AssertionError("progress must raise")

    _with_task(monkeypatch, task)
    run_chunk(runtime, Queue.LLM)
    assert steps.take(runtime.engine, Queue.LLM).attempt == 1
