"""Chunks: one owner per chunk, results only from the owner, nothing lost, fan-in exactly once."""

import threading
from collections.abc import Callable
from functools import partial

import pytest
from sqlalchemy import Engine

from interp.domain.errors import LeaseLostError
from interp.domain.lifecycle import ChunkStatus, Queue, Stage
from interp.planning.plan import ChunkPlan
from interp.store.db.engine import transaction
from interp.store.queue import chunks, completion, jobs
from interp.store.queue.chunks import Lease
from tests.store import steps


def explains(number: int) -> list[ChunkPlan]:
    return [ChunkPlan(Stage.EXPLAIN, index, 4, {"features": [[4 * index, 4 * index + 4]]}) for index in range(number)]


SUMMARISE = ChunkPlan(Stage.SUMMARISE, 0, 1, waits_for=Stage.EXPLAIN)


def together(*actions: Callable[[], None]) -> None:
    """Runs the actions in threads that start at once; raises the first error of any."""
    errors: list[BaseException] = []
    gate = threading.Barrier(len(actions))

    def run(action: Callable[[], None]) -> None:
        try:
            gate.wait()
            action()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=[action]) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def nobody_is_gone(_owner: str) -> bool:
    return False


def test_each_chunk_has_one_owner_among_many_workers(engine: Engine) -> None:
    steps.running(engine, *explains(24))
    taken: list[str] = []

    def work() -> None:
        while lease := steps.claim(engine, Queue.LLM):
            taken.append(lease.chunk_id)

    together(*[work] * 6)
    assert len(taken) == 24
    assert len(set(taken)) == 24


def test_workers_that_finish_at_once_release_what_waits_exactly_once(engine: Engine) -> None:
    for _ in range(4):
        job_id = steps.running(engine, *explains(4), SUMMARISE)
        leases = [steps.take(engine, Queue.LLM) for _ in range(4)]
        released: list[str] = []

        def finish(lease: Lease, released: list[str] = released) -> None:
            released.extend(steps.finish(engine, lease))

        together(*[lambda lease=lease, finish=finish: finish(lease) for lease in leases])
        assert len(released) == 1
        assert steps.statuses(engine, job_id)["summarise:0"] == "ready"
        steps.finish(engine, steps.take(engine, Queue.LLM))


def test_a_chunk_may_wait_for_a_span_of_another_stage(engine: Engine) -> None:
    collects = [ChunkPlan(Stage.COLLECT, number, 4) for number in range(5)]
    combines = [ChunkPlan(Stage.COMBINE, 0, 4, {}, "collect:0-2"), ChunkPlan(Stage.COMBINE, 1, 4, {}, "collect:2-4")]
    merge = ChunkPlan(Stage.MERGE, 0, 4, {}, "combine:0-1")
    job_id = steps.running(engine, *collects, *combines, merge)
    leases = {lease.number: lease for lease in (steps.take(engine, Queue.GPU) for _ in range(5))}
    assert [len(steps.finish(engine, leases[number])) for number in (4, 0, 3, 1)] == [0, 0, 0, 0]
    assert len(steps.finish(engine, leases[2])) == 2, "one chunk may be the last of two spans"
    first, second = (steps.take(engine, Queue.GPU) for _ in range(2))
    assert steps.finish(engine, second) == []
    assert len(steps.finish(engine, first)) == 1
    assert steps.statuses(engine, job_id)["merge:0"] == "ready"


def test_the_last_chunks_of_a_span_that_end_at_once_release_once(engine: Engine) -> None:
    job_id = steps.running(engine, *(ChunkPlan(Stage.COLLECT, number, 4) for number in range(8)), ChunkPlan(Stage.COMBINE, 0, 4, {}, "collect:2-5"))
    leases = [steps.take(engine, Queue.GPU) for _ in range(8)]
    released: list[str] = []
    together(*[lambda lease=lease: released.extend(steps.finish(engine, lease)) for lease in leases[2:6]])
    assert len(released) == 1
    assert steps.statuses(engine, job_id)["combine:0"] == "ready"


def test_a_chunk_may_wait_for_one_chunk_of_another_stage(engine: Engine) -> None:
    merges = [ChunkPlan(Stage.MERGE, number, 4) for number in range(2)]
    waiting = [ChunkPlan(Stage.EXPLAIN, number, 4, {}, f"merge:{number}") for number in range(2)]
    job_id = steps.running(engine, *merges, *waiting)
    lease = steps.take(engine, Queue.GPU)
    steps.finish(engine, lease)
    found = steps.statuses(engine, job_id)
    assert found[f"explain:{lease.number}"] == "ready"
    assert found[f"explain:{1 - lease.number}"] == "waiting"


def test_the_highest_priority_goes_first_and_chunks_in_their_order(engine: Engine) -> None:
    low = steps.running(engine, *explains(2))
    high = steps.running(engine, *explains(1), spec=steps.SPEC.model_copy(update={"priority": 5}))
    taken = [steps.take(engine, Queue.LLM) for _ in range(3)]
    assert [lease.job_id for lease in taken] == [high, low, low]
    assert [lease.number for lease in taken[1:]] == [0, 1]


def test_a_worker_that_lost_its_lease_writes_nothing(engine: Engine) -> None:
    job_id = steps.running(engine, *explains(1), SUMMARISE)
    frozen = steps.take(engine, Queue.LLM, seconds=-1)
    assert completion.sweep(engine, nobody_is_gone, max_lost_leases=6) == 1
    thawed = steps.take(engine, Queue.LLM)
    assert thawed.chunk_id == frozen.chunk_id
    with pytest.raises(LeaseLostError), transaction(engine) as session:
        jobs.count_failed(session, job_id, 4)
        completion.finish(session, frozen, None)
    assert steps.look(engine, job_id).request_counts.failed == 0
    with transaction(engine) as session:
        assert not steps.heartbeat(session, frozen, 30, 1)
    for ending in (partial(chunks.end, target=ChunkStatus.CANCELLED), lambda session, lease: chunks.again(session, lease, None, counts=True)):
        with pytest.raises(LeaseLostError), transaction(engine) as session:
            ending(session, frozen)
    steps.finish(engine, thawed)
    assert steps.statuses(engine, job_id) == {"prepare:0": "done", "explain:0": "done", "summarise:0": "ready"}


def test_a_heartbeat_keeps_the_lease_and_writes_progress(engine: Engine) -> None:
    steps.running(engine, *explains(1))
    lease = steps.take(engine, Queue.LLM, seconds=-1)
    with transaction(engine) as session:
        assert steps.heartbeat(session, lease, 30, 3)
    assert completion.sweep(engine, nobody_is_gone, max_lost_leases=6) == 0
    assert steps.chunk(engine, lease.chunk_id).units_done == 3


def test_chunks_of_an_owner_that_is_gone_go_back_at_once(engine: Engine) -> None:
    steps.running(engine, *explains(2))
    steps.claim(engine, Queue.LLM, owner="dead")
    steps.claim(engine, Queue.LLM, owner="alive")
    assert completion.sweep(engine, lambda owner: owner == "dead", max_lost_leases=6) == 1
    lease = steps.take(engine, Queue.LLM)
    assert lease.attempt == 2
    assert steps.claim(engine, Queue.LLM) is None


def test_two_sweepers_take_a_chunk_back_once(engine: Engine) -> None:
    steps.running(engine, *explains(8))
    for _ in range(8):
        steps.take(engine, Queue.LLM, seconds=-1)
    taken: list[int] = []
    together(*[lambda: taken.append(completion.sweep(engine, nobody_is_gone, max_lost_leases=6))] * 3)
    assert sum(taken) == 8


def test_handing_back_is_no_attempt(engine: Engine) -> None:
    steps.running(engine, *explains(1))
    for _ in range(5):
        lease = steps.take(engine, Queue.LLM)
        assert lease.attempt == 1
        with transaction(engine) as session:
            completion.hand_back(session, lease)


def test_an_error_is_tried_again_and_an_expendable_chunk_then_leaves_the_job_running(engine: Engine) -> None:
    job_id = steps.running(engine, *explains(2), SUMMARISE)
    steps.finish(engine, steps.take(engine, Queue.LLM))
    for attempt in (1, 2, 3):
        lease = steps.take(engine, Queue.LLM)
        assert lease.attempt == attempt
        steps.fail(engine, lease, max_attempts=3)
    found = steps.look(engine, job_id)
    assert found.status == "running"
    assert found.request_counts.failed == 4
    assert steps.statuses(engine, job_id) == {"prepare:0": "done", "explain:0": "done", "explain:1": "failed", "summarise:0": "ready"}
    assert steps.chunk(engine, lease.chunk_id).error == {"code": "internal", "traceback": "..."}
    steps.finish(engine, steps.take(engine, Queue.LLM))
    assert steps.look(engine, job_id).status == "completed"


def test_a_chunk_that_evidence_depends_on_takes_the_job_down(engine: Engine) -> None:
    job_id = steps.running(engine, ChunkPlan(Stage.COLLECT, 0, 9), ChunkPlan(Stage.COLLECT, 1, 9), ChunkPlan(Stage.MERGE, 0, 4, {}, Stage.COLLECT))
    steps.fail(engine, steps.take(engine, Queue.GPU), max_attempts=0)
    found = steps.look(engine, job_id)
    assert found.status == "failed"
    assert found.error == {"code": "internal", "stage": "collect", "chunk": 0}
    assert set(steps.statuses(engine, job_id).values()) == {"done", "failed", "cancelled"}


def test_a_poison_chunk_fails_after_its_losses(engine: Engine) -> None:
    job_id = steps.running(engine, *explains(1), SUMMARISE)
    for _ in range(3):
        steps.take(engine, Queue.LLM, seconds=-1)
        completion.sweep(engine, nobody_is_gone, max_lost_leases=3)
    assert steps.statuses(engine, job_id)["explain:0"] == "failed"
    assert steps.look(engine, job_id).status == "running"
