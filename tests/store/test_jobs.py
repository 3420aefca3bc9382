"""Submission, cancelling, and progress."""

import threading

import pytest
from sqlalchemy import Engine

from interp.domain.errors import ConflictError, LeaseLostError, NotFoundError
from interp.domain.lifecycle import Queue, Stage
from interp.domain.spec import JobSpec
from interp.planning.plan import ChunkPlan
from interp.store.db.engine import snapshot, transaction
from interp.store.queue import completion, jobs
from interp.store.queue.progress import progress
from tests.store import steps


def test_a_job_begins_with_one_chunk(engine: Engine) -> None:
    job_id = steps.submit(engine)
    assert steps.statuses(engine, job_id) == {"prepare:0": "ready"}
    found = steps.look(engine, job_id)
    assert (found.status, found.request_counts.total, found.eta) == ("queued", 10, None)


def test_the_same_key_gives_the_same_job_and_another_request_a_conflict(engine: Engine) -> None:
    job_id = steps.submit(engine, key="k")
    assert steps.submit(engine, key="k") == job_id
    assert steps.submit(engine) != job_id
    with pytest.raises(ConflictError):
        steps.submit(engine, JobSpec.model_validate(steps.SPEC.model_dump() | {"seed": 1}), key="k")


def test_one_job_comes_of_one_key_sent_by_many_at_once(engine: Engine) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(steps.submit(engine, key="k"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_a_queued_job_is_cancelled_at_once(engine: Engine) -> None:
    job_id = steps.submit(engine)
    with transaction(engine) as session:
        assert jobs.cancel(session, job_id).status == "cancelled"
    assert steps.claim(engine, Queue.GPU) is None
    with transaction(engine) as session:
        assert jobs.cancel(session, job_id).status == "cancelled"


def test_a_job_whose_first_chunk_was_taken_a_moment_ago_is_cancelled_too(engine: Engine) -> None:
    job_id = steps.submit(engine)
    lease = steps.take(engine, Queue.GPU)
    with transaction(engine) as session:
        assert jobs.cancel(session, job_id).status == "cancelling", "the worker has not said yet that it runs"
    with transaction(engine) as session:
        jobs.start(session, job_id)
        assert not steps.heartbeat(session, lease, 30, 0)
    with pytest.raises(LeaseLostError):
        steps.finish(engine, lease)
    with transaction(engine) as session:
        completion.hand_back(session, lease)
    assert steps.look(engine, job_id).status == "cancelled"


def test_a_running_job_is_cancelled_when_its_worker_lets_go(engine: Engine) -> None:
    plans = [ChunkPlan(Stage.EXPLAIN, number, 4) for number in range(3)]
    job_id = steps.running(engine, *plans)
    leases = [steps.take(engine, Queue.LLM) for _ in range(2)]
    with transaction(engine) as session:
        assert jobs.cancel(session, job_id).status == "cancelling"
    assert steps.statuses(engine, job_id)["explain:2"] == "cancelled"
    for lease, expected in zip(leases, ["cancelling", "cancelled"], strict=True):
        with transaction(engine) as session:
            assert not steps.heartbeat(session, lease, 30, 1)
        with transaction(engine) as session:
            completion.hand_back(session, lease)
        assert steps.look(engine, job_id).status == expected


def test_a_job_being_cancelled_whose_worker_died_is_cancelled_by_the_sweeper(engine: Engine) -> None:
    job_id = steps.running(engine, ChunkPlan(Stage.EXPLAIN, 0, 4))
    steps.take(engine, Queue.LLM, seconds=-1)
    with transaction(engine) as session:
        jobs.cancel(session, job_id)
    completion.sweep(engine, lambda _owner: False, max_lost_leases=6)
    assert steps.look(engine, job_id).status == "cancelled"


def test_what_is_over_cannot_be_cancelled_and_what_is_not_there_is_not_found(engine: Engine) -> None:
    job_id = steps.running(engine, ChunkPlan(Stage.SUMMARISE, 0, 1))
    steps.finish(engine, steps.take(engine, Queue.LLM))
    with pytest.raises(ConflictError), transaction(engine) as session:
        jobs.cancel(session, job_id)
    with pytest.raises(NotFoundError), transaction(engine) as session:
        jobs.cancel(session, "nobody")
    with pytest.raises(NotFoundError), snapshot(engine) as session:
        progress(session, "nobody")


def test_a_first_unit_is_no_rate(engine: Engine) -> None:
    job_id = steps.running(engine, ChunkPlan(Stage.COLLECT, 0, 25_000))
    lease = steps.take(engine, Queue.GPU)
    for done, is_known in ((0, False), (1, False), (249, False), (250, True)):
        with transaction(engine) as session:
            steps.heartbeat(session, lease, 30, done)
        stage = next(stage for stage in steps.look(engine, job_id).stages if stage.stage == Stage.COLLECT)
        assert (stage.done, stage.eta_seconds is not None) == (done, is_known)


def test_progress_adds_up_stages_and_knows_when_it_will_end(engine: Engine) -> None:
    plans = [ChunkPlan(Stage.EXPLAIN, number, 5) for number in range(2)]
    plans += [ChunkPlan(Stage.SCORE, number, 5, {}, Stage.EXPLAIN) for number in range(2)]
    job_id = steps.running(engine, *plans, ChunkPlan(Stage.SUMMARISE, 0, 1, {}, Stage.SCORE))
    lease = steps.take(engine, Queue.LLM)
    with transaction(engine) as session:
        steps.heartbeat(session, lease, 30, 3)
    found = steps.look(engine, job_id)
    explaining = next(stage for stage in found.stages if stage.stage == Stage.EXPLAIN)
    assert (explaining.done, explaining.total, explaining.chunks) == (3, 10, {"leased": 1, "ready": 1})
    assert explaining.eta_seconds is not None
    assert found.eta is None, "nothing is known of scoring yet"
    assert found.request_counts.completed == 0
    steps.finish(engine, lease)
    steps.finish(engine, steps.take(engine, Queue.LLM))
    scoring = steps.take(engine, Queue.LLM)
    with transaction(engine) as session:
        steps.heartbeat(session, scoring, 30, 4)
    found = steps.look(engine, job_id)
    assert found.eta is not None
    assert found.request_counts.completed == 4
