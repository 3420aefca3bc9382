"""Wake-up notifications: never more than allowed are pending, and none is forgotten."""

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


def notify(engine: Engine, window: int, seconds: float = 60.0) -> list[str]:
    with transaction(engine) as session:
        return chunks.due_notifications(session, Queue.LLM, window, seconds)


def pass_time(engine: Engine, seconds: float) -> None:
    with transaction(engine) as session:
        session.execute(update(ChunkRow).where(ChunkRow.notified_at.is_not(None)).values(notified_at=datetime.now(UTC) - timedelta(seconds=seconds)))


def test_no_more_notifications_are_pending_than_allowed(engine: Engine) -> None:
    steps.running(engine, *explains(6))
    notified = notify(engine, 3)
    assert len(notified) == 3
    assert notify(engine, 3) == []
    steps.claim(engine, Queue.LLM, chunk_id=notified[0])
    assert len(notify(engine, 3)) == 1, "one was answered"
    assert len(notify(engine, 9)) == 2


def test_a_chunk_taken_without_its_notification_leaves_it_pending(engine: Engine) -> None:
    steps.running(engine, *explains(6))
    notified = notify(engine, 2)
    for _ in notified:
        steps.finish(engine, steps.take(engine, Queue.LLM))
    assert notify(engine, 2) == [], "nobody has heard the two notifications yet"
    for notified_chunk in notified:
        assert steps.claim(engine, Queue.LLM, chunk_id=notified_chunk) is not None, "a stale notification still makes a worker ask"
    assert len(notify(engine, 2)) == 2


def test_a_notification_that_nobody_answered_is_sent_again_later(engine: Engine) -> None:
    steps.running(engine, *explains(5))
    assert len(notify(engine, 3)) == 3
    pass_time(engine, 120)
    assert len(notify(engine, 9)) == 5
    assert notify(engine, 9) == []


def test_a_notification_whose_worker_took_another_chunk_may_be_sent_again(engine: Engine) -> None:
    steps.running(engine, *explains(3))
    first, second, third = notify(engine, 3)
    taken = steps.claim(engine, Queue.LLM, chunk_id=third)
    assert taken is not None
    assert taken.chunk_id == first
    assert notify(engine, 3) == [third]
    assert second


def test_every_job_is_rung_for_in_its_turn(engine: Engine) -> None:
    many = steps.running(engine, *explains(50))
    few = steps.running(engine, *explains(1))
    steps.take(engine, Queue.LLM)
    notified = notify(engine, 4)
    jobs = [steps.chunk(engine, chunk_id).job_id for chunk_id in notified]
    assert jobs == [few, many, many, many], "the job that was never served comes before the one that was"
