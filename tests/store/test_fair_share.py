"""The order of jobs: priority, then turns, then models that are loaded already; every job is served in bounded time."""

from collections import Counter
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, update

from interp.domain.lifecycle import Queue, Stage
from interp.planning.plan import ChunkPlan
from interp.store.db.engine import transaction
from interp.store.db.tables import JobRow
from interp.store.queue import chunks
from interp.store.queue.fair_share import ReadyJob, in_order
from tests.store import steps

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
AFFINITY = 60.0


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def explains(number: int) -> list[ChunkPlan]:
    return [ChunkPlan(Stage.EXPLAIN, index, 4) for index in range(number)]


def has_models(engine: Engine, job_id: str, key: str) -> None:
    with transaction(engine) as session:
        session.execute(update(JobRow).where(JobRow.id == job_id).values(models_key=key))


def take(engine: Engine, loaded: frozenset[str] = frozenset(), affinity: float = AFFINITY) -> str:
    with transaction(engine) as session:
        lease = chunks.claim(session, Queue.LLM, "test", 30, loaded_models=loaded, model_affinity_seconds=affinity)
    assert lease is not None
    return lease.job_id


def test_jobs_of_one_priority_take_turns_however_many_chunks_each_has(engine: Engine) -> None:
    million = steps.running(engine, *explains(200))
    ten = steps.running(engine, *explains(10))
    third = steps.running(engine, *explains(10))
    taken = [take(engine) for _ in range(30)]
    assert Counter(taken) == {million: 10, ten: 10, third: 10}
    assert all(set(taken[start : start + 3]) == {million, ten, third} for start in range(0, 30, 3))
    assert [take(engine) for _ in range(3)] == [million] * 3, "who is alone has every turn"


def test_a_new_job_is_served_next(engine: Engine) -> None:
    old = steps.running(engine, *explains(20))
    assert [take(engine) for _ in range(5)] == [old] * 5
    new = steps.running(engine, *explains(2))
    assert [take(engine) for _ in range(3)] == [new, old, new]


def test_a_higher_priority_goes_before_every_turn(engine: Engine) -> None:
    low = steps.running(engine, *explains(3))
    high = steps.running(engine, *explains(3), spec=steps.SPEC.model_copy(update={"priority": 1}))
    assert [take(engine) for _ in range(6)] == [high] * 3 + [low] * 3


def test_turns_are_taken_by_queue(engine: Engine) -> None:
    both = steps.running(engine, *explains(4), ChunkPlan(Stage.COLLECT, 0, 4))
    other = steps.running(engine, *explains(4))
    take(engine)
    assert steps.take(engine, Queue.GPU).job_id == both
    assert take(engine) == other, "a turn at the gpus is none at the language models"


def test_a_worker_stays_with_the_models_it_has_open_until_somebody_has_waited_too_long(engine: Engine) -> None:
    cold = steps.running(engine, *explains(9))
    warm = steps.running(engine, *explains(9))
    has_models(engine, cold, "cold")
    has_models(engine, warm, "warm")
    assert [take(engine, frozenset({"warm"})) for _ in range(4)] == [warm] * 4
    assert take(engine) == cold, "a worker that has nothing open takes turns"
    assert [take(engine, frozenset({"warm"}), affinity=0.0) for _ in range(4)] == [warm, cold, warm, cold]


def test_a_notification_for_one_job_brings_a_worker_to_the_job_whose_turn_it_is(engine: Engine) -> None:
    many = steps.running(engine, *explains(9))
    few = steps.running(engine, *explains(9))
    first = steps.take(engine, Queue.LLM)
    assert first.job_id == many
    with transaction(engine) as session:
        notifications = chunks.due_notifications(session, Queue.LLM, 64, 60)
    of_many = next(notification for notification in notifications if steps.chunk(engine, notification).job_id == many)
    lease = steps.claim(engine, Queue.LLM, chunk_id=of_many)
    assert lease is not None
    assert lease.job_id == few


def test_a_job_whose_only_chunk_is_being_taken_makes_nobody_wait(engine: Engine) -> None:
    if engine.dialect.name == "sqlite":
        return  # one writer at a time: nobody sees a chunk that is being taken
    first, second = steps.running(engine, *explains(1)), steps.running(engine, *explains(1))
    with transaction(engine) as session:
        held = chunks.claim(session, Queue.LLM, "slow", 30)
        assert held is not None
        assert held.job_id == first
        assert take(engine) == second
        assert steps.claim(engine, Queue.LLM) is None


jobs = st.lists(
    st.builds(
        ReadyJob,
        job_id=st.uuids().map(str),
        priority=st.integers(0, 2),
        models_key=st.sampled_from(["a", "b", "c", None]),
        created_at=st.floats(0, 1000).map(at),
        last_claimed_at=st.one_of(st.none(), st.floats(1000, 2000).map(at)),
    ),
    unique_by=lambda job: job.job_id,
    max_size=12,
)
loaded_sets = st.frozensets(st.sampled_from(["a", "b", "c"]))


@given(jobs, loaded_sets, st.floats(0, 3000))
def test_the_order_holds_every_job_once_and_priorities_descend(waiting: list[ReadyJob], loaded: frozenset[str], affinity: float) -> None:
    found = in_order(waiting, loaded, at(2000), affinity)
    assert Counter(found) == Counter(waiting)
    assert [job.priority for job in found] == sorted((job.priority for job in waiting), reverse=True)


@given(jobs, loaded_sets)
def test_nobody_is_passed_by_for_open_models_beyond_the_affinity(waiting: list[ReadyJob], loaded: frozenset[str]) -> None:
    late = at(2000 - AFFINITY)
    for priority in range(3):
        found = [job for job in in_order(waiting, loaded, at(2000), AFFINITY) if job.priority == priority]
        if any(job.models_key not in loaded and job.waits_since < late for job in found):
            assert found[0] == min(found, key=lambda job: (job.last_claimed_at is not None, job.waits_since, job.created_at, job.job_id))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 40)), min_size=2, max_size=6), st.integers(1, 4), st.floats(0.5, 20))
def test_every_job_is_served_again_within_a_bounded_time(sizes: list[tuple[str, int]], workers: int, affinity: float) -> None:
    """Workers that each keep one pair of models open, a chunk a second: no job waits longer than its affinity and a turn of all the others."""
    left = {str(number): chunks_of for number, (_, chunks_of) in enumerate(sizes)}
    models = {str(number): key for number, (key, _) in enumerate(sizes)}
    served: dict[str, datetime] = {}
    loaded_by: list[frozenset[str]] = [frozenset()] * workers
    clock = 0.0
    while any(left.values()):
        for worker in range(workers):
            waiting = [ReadyJob(job, 0, models[job], BEGIN, served.get(job)) for job, chunks_of in left.items() if chunks_of]
            if not waiting:
                break
            clock += 1.0 / workers
            job = in_order(waiting, loaded_by[worker], at(clock), affinity)[0]
            left[job.job_id] -= 1
            served[job.job_id] = at(clock)
            loaded_by[worker] = frozenset({str(job.models_key)})
            longest = max((at(clock) - other.waits_since).total_seconds() for other in waiting)
            assert longest <= affinity + len(sizes) + 1
