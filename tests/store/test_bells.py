"""Doorbells: never more than a window of them wait to be answered, and none is forgotten."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, update

from interp.domain.lifecycle import Queue, Stage
from interp.planning.plan import ChunkPlan
from interp.store.db.engine import transaction
from interp.store.db.tables import ChunkRow
from interp.store.queue import chunks
from tests.store import steps


def explains(number: int) -> list[ChunkPlan]:
    return [ChunkPlan(Stage.EXPLAIN, index, 4) for index in range(number)]


def ring(engine: Engine, window: int, seconds: float = 60.0) -> list[str]:
    with transaction(engine) as session:
        return chunks.ring_due(session, Queue.LLM, window, seconds)


def pass_time(engine: Engine, seconds: float) -> None:
    with transaction(engine) as session:
        session.execute(update(ChunkRow).where(ChunkRow.notified_at.is_not(None)).values(notified_at=datetime.now(UTC) - timedelta(seconds=seconds)))


def test_no_more_bells_wait_for_an_answer_than_the_window_holds(engine: Engine) -> None:
    steps.running(engine, *explains(6))
    rung = ring(engine, 3)
    assert len(rung) == 3
    assert ring(engine, 3) == []
    steps.claim(engine, Queue.LLM, chunk_id=rung[0])
    assert len(ring(engine, 3)) == 1, "one was answered"
    assert len(ring(engine, 9)) == 2


def test_a_chunk_taken_without_its_bell_leaves_the_bell_on_its_way(engine: Engine) -> None:
    steps.running(engine, *explains(6))
    rung = ring(engine, 2)
    for _ in rung:
        steps.finish(engine, steps.take(engine, Queue.LLM))
    assert ring(engine, 2) == [], "nobody has heard the two bells yet"
    for bell in rung:
        assert steps.claim(engine, Queue.LLM, chunk_id=bell) is not None, "a stale bell brings somebody who looks"
    assert len(ring(engine, 2)) == 2


def test_a_bell_that_nobody_answered_is_rung_again_after_a_while(engine: Engine) -> None:
    steps.running(engine, *explains(5))
    assert len(ring(engine, 3)) == 3
    pass_time(engine, 120)
    assert len(ring(engine, 9)) == 5
    assert ring(engine, 9) == []


def test_a_bell_that_brought_somebody_who_took_another_chunk_may_ring_again(engine: Engine) -> None:
    steps.running(engine, *explains(3))
    first, second, third = ring(engine, 3)
    taken = steps.claim(engine, Queue.LLM, chunk_id=third)
    assert taken is not None
    assert taken.chunk_id == first
    assert ring(engine, 3) == [third]
    assert second


def test_every_job_is_rung_for_in_its_turn(engine: Engine) -> None:
    many = steps.running(engine, *explains(50))
    few = steps.running(engine, *explains(1))
    steps.take(engine, Queue.LLM)
    rung = ring(engine, 4)
    jobs = [steps.chunk(engine, chunk_id).job_id for chunk_id in rung]
    assert jobs == [few, many, many, many], "the job that was never served comes before the one that was"
