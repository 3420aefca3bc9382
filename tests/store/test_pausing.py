"""A paused job holds nothing and loses nothing; a resumed one goes on where it was."""

import pytest
from sqlalchemy import Engine

from interp.domain.errors import ConflictError, NotFoundError
from interp.domain.lifecycle import Queue, Stage
from interp.domain.spec import BudgetSpec
from interp.planning.plan import ChunkPlan
from interp.store.db.engine import snapshot, transaction
from interp.store.queue import budgets, chunks, completion, jobs
from interp.store.queue.chunks import Lease
from tests.store import steps

PROBLEM = {"code": "budget-reached", "title": "t", "detail": "d", "traceback": "secret"}
EXPLAINS = [ChunkPlan(Stage.EXPLAIN, number, 4) for number in range(3)]
SUMMARISE = ChunkPlan(Stage.SUMMARISE, 0, 1, waits_for=Stage.EXPLAIN)


def pause(engine: Engine, lease: Lease) -> None:
    with transaction(engine) as session:
        completion.pause(session, lease, PROBLEM)


def resume(engine: Engine, job_id: str, budget: BudgetSpec | None = None) -> str:
    with transaction(engine) as session:
        return jobs.resume(session, job_id, budget).status


def test_a_worker_pauses_its_job_and_the_others_hand_back_uncounted(engine: Engine) -> None:
    job_id = steps.running(engine, *EXPLAINS, SUMMARISE)
    first, second = (steps.take(engine, Queue.LLM) for _ in range(2))
    pause(engine, first)
    found = steps.look(engine, job_id)
    assert found.status == "paused"
    assert found.paused_at is not None
    assert found.error is None
    assert found.pause_reason == {"code": "budget-reached", "title": "t", "detail": "d", "stage": "explain", "chunk": first.number}
    with transaction(engine) as session:
        assert not steps.heartbeat(session, second, 30, 1), "the other worker notices"
    pause(engine, second)
    assert steps.claim(engine, Queue.LLM) is None
    with transaction(engine) as session:
        assert chunks.due_notifications(session, Queue.LLM, 64, 0) == []
    assert resume(engine, job_id) == "running"
    found = steps.look(engine, job_id)
    assert (found.pause_reason, found.paused_at) == (None, None)
    assert [steps.take(engine, Queue.LLM).attempt for _ in range(3)] == [1, 1, 1]


def test_a_handed_back_chunk_of_a_paused_job_is_not_cancelled(engine: Engine) -> None:
    job_id = steps.running(engine, *EXPLAINS)
    lease = steps.take(engine, Queue.LLM)
    with transaction(engine) as session:
        jobs.pause(session, job_id)
    with transaction(engine) as session:
        completion.hand_back(session, lease)
    assert steps.statuses(engine, job_id)[f"explain:{lease.number}"] == "ready"
    assert steps.chunk(engine, lease.chunk_id).attempts == 0


@pytest.mark.parametrize("how", ["error", "death"])
def test_no_error_ends_a_chunk_of_a_paused_job(engine: Engine, how: str) -> None:
    job_id = steps.running(engine, *EXPLAINS)
    lease = steps.take(engine, Queue.LLM)
    with transaction(engine) as session:
        jobs.pause(session, job_id)
    if how == "error":
        steps.fail(engine, lease, max_attempts=0)
    else:
        assert completion.sweep(engine, lambda _owner: True, max_lost_leases=1) == 1
    assert steps.look(engine, job_id).status == "paused"
    assert steps.statuses(engine, job_id)[f"explain:{lease.number}"] == "ready"


def test_what_was_done_when_the_pause_came_is_kept_but_completes_nothing(engine: Engine) -> None:
    job_id = steps.running(engine, ChunkPlan(Stage.EXPLAIN, 0, 4), SUMMARISE)
    lease = steps.take(engine, Queue.LLM)
    with transaction(engine) as session:
        jobs.pause(session, job_id)
    steps.finish(engine, lease)
    assert steps.statuses(engine, job_id) == {"prepare:0": "done", "explain:0": "done", "summarise:0": "ready"}
    resume(engine, job_id)
    last = steps.take(engine, Queue.LLM)
    with transaction(engine) as session:
        jobs.pause(session, job_id)
    with pytest.raises(Exception, match="paused"):
        steps.finish(engine, last)
    with transaction(engine) as session:
        completion.hand_back(session, last)
    resume(engine, job_id)
    steps.finish(engine, steps.take(engine, Queue.LLM))
    assert steps.look(engine, job_id).status == "completed"


def test_a_job_that_never_started_is_queued_again(engine: Engine) -> None:
    job_id = steps.submit(engine)
    with transaction(engine) as session:
        assert jobs.pause(session, job_id).status == "paused"
    assert steps.claim(engine, Queue.GPU) is None
    assert resume(engine, job_id) == "queued"
    lease = steps.take(engine, Queue.GPU)
    assert lease.starts_job


def test_a_pause_between_taking_the_first_chunk_and_starting_stays(engine: Engine) -> None:
    job_id = steps.submit(engine)
    steps.take(engine, Queue.GPU)
    with transaction(engine) as session:
        jobs.pause(session, job_id)
    with transaction(engine) as session:
        jobs.start(session, job_id)
    assert steps.look(engine, job_id).status == "paused"


def test_pausing_and_resuming_twice_changes_nothing_and_what_is_over_cannot_be(engine: Engine) -> None:
    job_id = steps.running(engine, ChunkPlan(Stage.SUMMARISE, 0, 1))
    with transaction(engine) as session:
        jobs.pause(session, job_id, {"code": "first"})
    with transaction(engine) as session:
        assert jobs.pause(session, job_id, {"code": "second"}).pause_reason == {"code": "first"}
    assert resume(engine, job_id) == resume(engine, job_id) == "running"
    steps.finish(engine, steps.take(engine, Queue.LLM))
    for change in (jobs.pause, jobs.resume):
        with pytest.raises(ConflictError), transaction(engine) as session:
            change(session, job_id)
        with pytest.raises(NotFoundError), transaction(engine) as session:
            change(session, "nobody")


def test_a_paused_job_can_be_cancelled_even_while_a_worker_lets_go(engine: Engine) -> None:
    job_id = steps.running(engine, *EXPLAINS)
    lease = steps.take(engine, Queue.LLM)
    with transaction(engine) as session:
        jobs.pause(session, job_id)
    with transaction(engine) as session:
        assert jobs.cancel(session, job_id).status == "cancelling"
    with transaction(engine) as session:
        completion.hand_back(session, lease)
    assert steps.look(engine, job_id).status == "cancelled"


def test_chunks_that_were_notified_of_before_a_pause_are_notified_of_again(engine: Engine) -> None:
    job_id = steps.running(engine, *EXPLAINS)
    with transaction(engine) as session:
        assert len(chunks.due_notifications(session, Queue.LLM, 64, 600)) == 3
    with transaction(engine) as session:
        jobs.pause(session, job_id)
    resume(engine, job_id)
    with transaction(engine) as session:
        assert len(chunks.due_notifications(session, Queue.LLM, 64, 600)) == 3


def test_a_first_cap_waits_until_nobody_spends_uncounted(engine: Engine) -> None:
    job_id = steps.running(engine, *EXPLAINS)
    lease = steps.take(engine, Queue.LLM)
    with pytest.raises(ConflictError, match="still busy"):
        resume(engine, job_id, BudgetSpec(tokens=10))
    pause(engine, lease)
    assert resume(engine, job_id, BudgetSpec(tokens=10)) == "running"
    with snapshot(engine) as session:
        found = budgets.get(session, job_id)
    assert found is not None
    assert found.caps == BudgetSpec(tokens=10)


def test_a_random_weights_control_is_a_job_on_the_same_budget_that_resumes_with_it(engine: Engine) -> None:
    spec = steps.SPEC.model_copy(update={"controls": ("null", "random_weights"), "budget": BudgetSpec(calls=5)})
    job_id = steps.submit(engine, spec)
    with snapshot(engine) as session:
        control = jobs.control_of(session, job_id)
    assert control is not None
    assert control.spec["subject"]["weights"] == "random"
    assert control.spec["controls"] == ["null"]
    with transaction(engine) as session:
        assert budgets.owner_of(session, control.id) == job_id
        assert budgets.get(session, control.id) == budgets.get(session, job_id)
        jobs.pause(session, job_id)
        jobs.pause(session, control.id)
    resume(engine, job_id, BudgetSpec(calls=50))
    assert steps.look(engine, control.id).status == "queued"
    with snapshot(engine) as session:
        assert jobs.control_of(session, control.id) is None


def test_one_key_gives_one_job_and_one_control(engine: Engine) -> None:
    spec = steps.SPEC.model_copy(update={"controls": ("random_weights",)})
    assert steps.submit(engine, spec, key="k") == steps.submit(engine, spec, key="k")
    taken = [steps.claim(engine, Queue.GPU) for _ in range(3)]
    assert [lease is not None for lease in taken] == [True, True, False]
