"""What /metrics reads: sums that are kept as things change say what counting everything would say."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, delete, func, select, update
from sqlalchemy.orm import InstrumentedAttribute

from interp.domain.lifecycle import CHUNK_ENDS, ChunkStatus, Queue, Stage
from interp.llm.base import Usage
from interp.llm.call_store import Call, CallStatus, Tag
from interp.planning.plan import ChunkPlan
from interp.store.db.dialect import now
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import ChunkRow, FairShareRow, JobRow, LlmCallRow, StageCountRow, WorkerRow
from interp.store.llm import call_stats, calls
from interp.store.queue import chunks, completion, jobs, metrics
from interp.store.queue.metrics import Readings
from tests.store import steps

PLANS = (
    *(ChunkPlan(Stage.COLLECT, number, 100) for number in range(3)),
    *(ChunkPlan(Stage.MERGE, number, 10, waits_for=str(Stage.COLLECT)) for number in range(3)),
    *(ChunkPlan(Stage.EXPLAIN, number, 10, waits_for=f"{Stage.MERGE}:{number}") for number in range(3)),
    ChunkPlan(Stage.SCORE, 0, 30, waits_for=str(Stage.EXPLAIN)),
)


def read(engine: Engine) -> dict[str, Readings]:
    with snapshot(engine) as session:
        return metrics.read(session, 30.0)


def finish(engine: Engine, of: Queue) -> None:
    if (lease := steps.claim(engine, of)) is not None:
        steps.finish(engine, lease)


def fail(engine: Engine, of: Queue) -> None:
    if (lease := steps.claim(engine, of)) is not None:
        steps.fail(engine, lease, 1)


def hand_back(engine: Engine, of: Queue) -> None:
    if (lease := steps.claim(engine, of)) is not None:
        with transaction(engine) as session:
            completion.hand_back(session, lease)


def hold(engine: Engine, of: Queue) -> None:
    steps.claim(engine, of)


def cancel(engine: Engine, of: Queue) -> None:
    with transaction(engine) as session:
        chunks.cancel_open(session, session.scalars(select(ChunkRow.job_id)).first() or "")


MOVES: tuple[Callable[[Engine, Queue], None], ...] = (finish, finish, finish, fail, hand_back, hold, cancel)


def agrees(engine: Engine) -> None:
    """The kept sums are what counting gives, of every job and stage."""
    with snapshot(engine) as session:
        kept = {(row.job_id, row.stage): row for row in session.scalars(select(StageCountRow))}
        groups = (ChunkRow.job_id, ChunkRow.stage, ChunkRow.status)
        counted = session.execute(select(*groups, func.count(), func.sum(ChunkRow.units_total)).group_by(*groups)).all()
    found: dict[tuple[str, str], dict[str, int]] = {}
    for job_id, stage, status, number, units in counted:
        sums = found.setdefault((job_id, stage), dict.fromkeys(("open", "waiting", "done", "failed", "cancelled", "units"), 0))
        sums["open"] += 0 if status in CHUNK_ENDS else number
        sums["units"] += units if status == ChunkStatus.DONE else 0
        if status in sums:
            sums[status] += number
    assert {key: {name: getattr(row, name) for name in found[key]} for key, row in kept.items()} == found


@pytest.mark.parametrize("seed", range(6))
def test_kept_sums_are_what_counting_gives(engine: Engine, seed: int) -> None:
    draw = random.Random(seed)
    steps.running(engine, *PLANS)
    steps.submit(engine)
    agrees(engine)
    for _ in range(40):
        draw.choice(MOVES)(engine, draw.choice((Queue.GPU, Queue.LLM)))
        agrees(engine)


def test_what_is_tried_again_is_open_again_and_counts_twice(engine: Engine) -> None:
    steps.running(engine, ChunkPlan(Stage.EXPLAIN, 0, 10))
    finish(engine, Queue.LLM)
    with transaction(engine) as session:
        session.execute(update(ChunkRow).where(ChunkRow.stage == Stage.EXPLAIN).values(status=ChunkStatus.READY))
    assert read(engine)["queue_chunks"]["llm", "ready"] == 1
    finish(engine, Queue.LLM)
    found = read(engine)
    assert found["queue_chunks"]["llm", "ready"] == 0
    assert found["chunks"]["explain", "done"] == 2
    assert found["features"]["explained",] == 20


def test_the_queue_by_status(engine: Engine) -> None:
    job_id = steps.running(engine, *PLANS)
    assert steps.claim(engine, Queue.GPU)
    found = read(engine)["queue_chunks"]
    assert {key: number for key, number in found.items() if number} == {
        ("gpu", "leased"): 1,
        ("gpu", "ready"): 2,
        ("gpu", "waiting"): 3,
        ("llm", "waiting"): 4,
    }
    with transaction(engine) as session:
        jobs.pause(session, job_id)
    found = read(engine)["queue_chunks"]
    assert {key: number for key, number in found.items() if number} == {("gpu", "leased"): 1, ("gpu", "paused"): 5, ("llm", "paused"): 4}


def test_a_job_that_is_served_is_not_waiting_for_long(engine: Engine) -> None:
    steps.running(engine, *PLANS)
    back(engine, StageCountRow.released_at, 100)
    back(engine, JobRow.created_at, 100)
    back(engine, FairShareRow.last_claimed_at, 100)
    assert 99 < read(engine)["oldest_ready"]["gpu",] < 130
    assert read(engine)["oldest_ready"]["llm",] == 0, "chunks that wait for others do not wait for a worker"
    assert steps.claim(engine, Queue.GPU)
    assert read(engine)["oldest_ready"]["gpu",] < 30


def test_leases_by_age_and_those_that_are_over(engine: Engine) -> None:
    steps.running(engine, *PLANS)
    assert steps.claim(engine, Queue.GPU)
    assert read(engine)["lease_age"]["gpu",] < 30
    back(engine, ChunkRow.started_at, 200)
    found = read(engine)
    assert 199 < found["lease_age"]["gpu",] < 230
    assert found["leases_expired"]["gpu",] == 0
    back(engine, ChunkRow.lease_expires_at, 200)
    assert read(engine)["leases_expired"]["gpu",] == 1


def back(engine: Engine, column: InstrumentedAttribute[Any], seconds: float) -> None:
    """All times of a column, so many seconds earlier."""
    with transaction(engine) as session:
        for row in session.scalars(select(column.class_).where(column.is_not(None))):
            setattr(row, column.key, getattr(row, column.key) - timedelta(seconds=seconds))


def test_workers_are_alive_as_long_as_they_tell_of_themselves(engine: Engine) -> None:
    with transaction(engine) as session:
        moment = now(session)
        for name, silent in (("a", 0), ("b", 10), ("c", 60)):
            seen = moment - timedelta(seconds=silent)
            session.add(WorkerRow(owner=name, queue="llm", name=name, version="0", loaded_models=[], started_at=seen, seen_at=seen))
    assert read(engine)["workers"] == {("gpu",): 0, ("llm",): 2, ("upkeep",): 0}


def call(number: int, status: CallStatus, cost: float | None) -> Call:
    tag = Tag("job", "chunk", "explain", 1, "label")
    return Call(f"{number:064}", tag, "m", "http://e", "live", "t@1", status, 2, Usage(100, 10, cached_tokens=30), cost, 0.5, "{}", "{}")


def test_calls_add_up_and_stay_when_their_rows_go(engine: Engine) -> None:
    with transaction(engine) as session:
        calls.save(session, [calls.pack_call(call(number, "answered", 0.001)) for number in range(3)])
    with transaction(engine) as session:
        calls.save(session, [calls.pack_call(call(4, "failed", None)), calls.pack_call(call(5, "answered", 0.0000001))])
    before = read(engine)
    assert before["calls"] == {("m", "answered"): 4, ("m", "failed"): 1}
    assert before["attempts"] == {("m",): 10}
    assert before["llm_tokens"] == {("m", "prompt"): 500, ("m", "completion"): 50}
    assert before["cached_tokens"] == {("m",): 150}
    assert before["cost"] == {("m",): pytest.approx(0.0030001)}
    assert before["unpriced"] == {("m",): 1}
    with transaction(engine) as session:
        session.execute(delete(LlmCallRow))
    assert read(engine) == before


def test_processes_that_record_at_once_lose_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_stats, "SLOT", 0)

    def record(thread: int) -> None:
        for number in range(10):
            with transaction(engine) as session:
                calls.save(session, [calls.pack_call(call(1000 * thread + number, "answered", 0.5))])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(record, range(8)))
    assert read(engine)["calls"] == {("m", "answered"): 80}
    assert read(engine)["cost"] == {("m",): 40.0}
