"""A chunk's call store in the database: caps are never passed, whoever asks; answers are durable; a lost lease spends nothing more."""

import asyncio
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from interp.domain.errors import BudgetReachedError, LeaseLostError, PriceUnknownError, WorkInterruptedError
from interp.domain.lifecycle import Queue, Stage
from interp.domain.spec import BudgetSpec
from interp.llm.call_store import Amount, PendingBatch
from interp.planning.plan import ChunkPlan
from interp.store.db.engine import make_engine, snapshot, transaction
from interp.store.db.tables import LlmReservationRow
from interp.store.llm import calls, reply_cache
from interp.store.queue import budgets, completion, jobs
from interp.store.queue.chunks import Lease
from tests.store import steps
from tests.store.asked import BASE_URL, MODEL, call
from workers.llm.call_store import DatabaseCallStore
from workers.llm.event_loop import EventLoopThread

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def loop() -> Iterator[EventLoopThread]:
    made = EventLoopThread()
    yield made
    made.close()


def leases(engine: Engine, budget: BudgetSpec, number: int) -> list[Lease]:
    """Leases on so many chunks of one job with this budget."""
    spec = steps.SPEC.model_copy(update={"budget": budget})
    steps.running(engine, *[ChunkPlan(Stage.EXPLAIN, index, 4) for index in range(number)], spec=spec)
    return [steps.take(engine, Queue.LLM) for _ in range(number)]


def state(engine: Engine, job_id: str) -> budgets.BudgetState:
    with snapshot(engine) as session:
        found = budgets.get(session, job_id)
    assert found is not None
    return found


async def spend(call_store: DatabaseCallStore, seed: int, calls_each: int, tasks: int, most: int, spent: list[int]) -> int:
    """Tasks that reserve, wait a little, and settle for less, until the budget is reached; how many were told so."""

    async def work(number: int) -> bool:
        draw = random.Random(seed * 1000 + number)
        for _ in range(calls_each):
            amount = draw.randint(1, most)
            try:
                room = await call_store.reserve(Amount(1, amount, None))
            except BudgetReachedError:
                return True
            await asyncio.sleep(draw.random() / 500)
            used = draw.randint(0, amount)
            spent.append(used)
            call_store.settle(room, Amount(1, used, None))
        return False

    return sum(await asyncio.gather(*map(work, range(tasks))))


class Watch:
    """Looks at the budget all the while: spent, reserved and unsettled together never pass a cap."""

    def __init__(self, engine: Engine, job_id: str, caps: BudgetSpec) -> None:
        self.engine, self.job_id, self.caps = engine, job_id, caps
        self.peak, self._over = 0, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()

    def look(self) -> None:
        found = state(self.engine, self.job_id)
        self.peak = max(self.peak, found.spent.tokens + found.reserved.tokens + found.unsettled.tokens)

    def _run(self) -> None:
        while not self._over.wait(0.01):
            self.look()


@given(cap=st.integers(0, 3000), most=st.integers(1, 400), seed=st.integers(0, 99))
@hypothesis_settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_many_calls_in_flight_never_pass_a_cap_and_use_what_there_is(engine: Engine, loop: EventLoopThread, cap: int, most: int, seed: int) -> None:
    held = leases(engine, BudgetSpec(tokens=cap), 3)
    spent: list[int] = []
    told = 0
    with Watch(engine, held[0].job_id, BudgetSpec(tokens=cap)) as watch:
        call_store = [DatabaseCallStore(engine, lease) for lease in held]
        ends = [loop.run(spend(book, seed + number, 6, 21, most, spent)) for number, book in enumerate(call_store)]
        told = sum(end.result(60) for end in ends)
        for book in call_store:
            book.__exit__()
        watch.look()
    found = state(engine, held[0].job_id)
    assert watch.peak <= cap
    assert (found.spent.tokens, found.reserved) == (sum(spent), Amount(0, 0, 0.0)), "every settlement is in the call_store"
    assert found.spent.calls == len(spent)
    assert found.spent.tokens <= cap
    assert told == 0 or cap - found.spent.tokens < most, "nobody is sent away while there is room for any call"
    for lease in held:
        steps.finish(engine, lease)


def test_caps_in_calls_and_dollars_are_kept_to_the_last_one(engine: Engine, loop: EventLoopThread) -> None:
    (lease,) = leases(engine, BudgetSpec(calls=10, usd=0.7), 1)

    async def ask(call_store: DatabaseCallStore, price: float) -> int:
        granted = 0
        while True:
            try:
                call_store.settle(await call_store.reserve(Amount(1, 10, price)), Amount(1, 10, price))
            except BudgetReachedError:
                return granted
            granted += 1

    with DatabaseCallStore(engine, lease) as call_store:
        assert loop.run(ask(call_store, 0.1)).result(30) == 7, "seven times ten cents are seventy cents, and not one more picodollar"
    (lease,) = leases(engine, BudgetSpec(calls=10, usd=0.7), 1)
    with DatabaseCallStore(engine, lease) as call_store:
        assert loop.run(ask(call_store, 0.01)).result(30) == 10


PROCESS = """
import asyncio, sys
from interp.store.db.engine import make_engine, transaction
from interp.domain.lifecycle import Queue
from tests.store import steps
from tests.workers.test_call_store import spend
from workers.llm.call_store import DatabaseCallStore
engine = make_engine(sys.argv[1])
lease = steps.take(engine, Queue.LLM)
spent = []
async def main():
    call_store = DatabaseCallStore(engine, lease)
    await spend(call_store, int(sys.argv[2]), 40, 64, 50, spent)
    call_store.__exit__()
asyncio.run(main())
print(sum(spent), len(spent))
"""


def test_several_processes_with_64_calls_in_flight_each_never_pass_a_cap(engine: Engine, database_url: str) -> None:
    cap = BudgetSpec(tokens=12_345, calls=700)
    spec = steps.SPEC.model_copy(update={"budget": cap})
    job_id = steps.running(engine, *[ChunkPlan(Stage.EXPLAIN, index, 4) for index in range(3)], spec=spec)
    with Watch(engine, job_id, cap) as watch:
        command = [sys.executable, "-c", PROCESS, database_url]
        running = [subprocess.Popen([*command, str(number)], stdout=subprocess.PIPE, text=True) for number in range(3)]
        outputs = [process.communicate(timeout=100)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    pairs = [tuple(map(int, output.split())) for output in outputs]
    found = state(engine, job_id)
    assert watch.peak <= 12_345
    assert (found.spent.tokens, found.spent.calls) == (sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs))
    assert found.spent.tokens <= 12_345
    assert found.spent.calls <= 700
    assert found.spent.calls == 700 or 12_345 - found.spent.tokens < 50, "the cap was really reached"


def test_a_call_waits_for_what_another_worker_may_give_back(engine: Engine, loop: EventLoopThread) -> None:
    one, other = leases(engine, BudgetSpec(tokens=100), 2)
    with DatabaseCallStore(engine, one) as first, DatabaseCallStore(engine, other) as second:
        room = loop.run(first.reserve(Amount(1, 80, None))).result(10)
        waits = loop.run(second.reserve(Amount(1, 60, None)))
        with pytest.raises(TimeoutError):
            waits.result(0.5)
        loop.call(first.settle, room, Amount(1, 30, None))
        waits.result(10)
        with pytest.raises(BudgetReachedError) as reached:
            loop.run(second.reserve(Amount(1, 71, None))).result(10)
    assert reached.value.details["caps"] == {"tokens": 100}


def test_a_price_that_nobody_knows_is_refused_under_a_cap_in_dollars(engine: Engine, loop: EventLoopThread) -> None:
    (lease,) = leases(engine, BudgetSpec(usd=1.0), 1)
    with DatabaseCallStore(engine, lease) as call_store, pytest.raises(PriceUnknownError):
        loop.run(call_store.reserve(Amount(1, 10, None))).result(10)


def test_without_a_cap_nothing_is_reserved_and_a_later_cap_counts_what_was_spent(engine: Engine, loop: EventLoopThread) -> None:
    (lease,) = leases(engine, BudgetSpec(), 1)
    with DatabaseCallStore(engine, lease) as call_store:
        room = loop.run(call_store.reserve(Amount(1, 10, None))).result(10)
        loop.call(call_store.settle, room, Amount(1, 10, None))
        loop.call(call_store.record, call("k", job_id=lease.job_id, tokens=(7, 3), attempts=2))
        loop.run(call_store.recall("k")).result(10)
    with snapshot(engine) as session:
        assert session.scalar(select(LlmReservationRow.lease_token)) is None
    with transaction(engine) as session:
        completion.pause(session, lease, {"code": "x"})
        jobs.resume(session, lease.job_id, BudgetSpec(tokens=50))
    found = state(engine, lease.job_id)
    assert (found.spent.calls, found.spent.tokens, found.caps.tokens) == (2, 10, 50)


def test_what_a_dead_worker_had_set_aside_counts_as_spent(engine: Engine, loop: EventLoopThread) -> None:
    (lease,) = leases(engine, BudgetSpec(tokens=100), 1)
    call_store = DatabaseCallStore(engine, lease)
    loop.run(call_store.reserve(Amount(1, 60, None))).result(10)
    assert completion.sweep(engine, lambda _owner: True, max_lost_leases=6) == 1
    found = state(engine, lease.job_id)
    assert (found.spent.tokens, found.reserved.tokens, found.unsettled.tokens) == (0, 0, 60)
    with pytest.raises(LeaseLostError):
        loop.run(call_store.reserve(Amount(1, 1, None))).result(10)
    with pytest.raises(LeaseLostError):
        DatabaseCallStore(engine, lease)
    taken = steps.take(engine, Queue.LLM)
    with DatabaseCallStore(engine, taken) as again, pytest.raises(BudgetReachedError):
        loop.run(again.reserve(Amount(1, 41, None))).result(10)


def test_a_worker_that_stood_still_past_its_lease_asks_nothing_when_it_wakes(engine: Engine, loop: EventLoopThread) -> None:
    (lease,) = leases(engine, BudgetSpec(), 1)
    kept = True
    with DatabaseCallStore(engine, lease, is_kept=lambda: kept) as call_store:
        loop.run(call_store.reserve(Amount(1, 10, None))).result(10)
        call_store.check()
        kept = False
        with pytest.raises(WorkInterruptedError):
            loop.run(call_store.reserve(Amount(1, 10, None))).result(10)
        with pytest.raises(WorkInterruptedError):
            call_store.check()


def test_a_frozen_worker_that_thaws_may_still_tell_what_it_spent(engine: Engine, loop: EventLoopThread) -> None:
    (lease,) = leases(engine, BudgetSpec(tokens=100), 1)
    with DatabaseCallStore(engine, lease) as call_store:
        room = loop.run(call_store.reserve(Amount(1, 60, None))).result(10)
        completion.sweep(engine, lambda _owner: True, max_lost_leases=6)
        loop.call(call_store.settle, room, Amount(1, 20, None))
        loop.run(call_store.recall("anything")).result(10)
    found = state(engine, lease.job_id)
    assert (found.spent.tokens, found.reserved.tokens, found.unsettled.tokens) == (20, 0, 0)


def test_room_that_was_granted_to_nobody_goes_back(engine: Engine, loop: EventLoopThread) -> None:
    (lease,) = leases(engine, BudgetSpec(tokens=100), 1)

    async def give_up(call_store: DatabaseCallStore, number: int) -> None:
        tasks = [asyncio.create_task(call_store.reserve(Amount(1, 1, None))) for _ in range(number)]
        await asyncio.sleep(random.random() / 50)
        for task in tasks:
            task.cancel()
        for room in await asyncio.gather(*tasks, return_exceptions=True):
            if not isinstance(room, BaseException):
                call_store.settle(room, Amount(0, 0, None))

    with DatabaseCallStore(engine, lease) as call_store:
        for _ in range(10):
            loop.run(give_up(call_store, 10)).result(10)
        loop.run(call_store.recall("any")).result(10)
    found = state(engine, lease.job_id)
    assert (found.spent.calls, found.reserved.calls) == (0, 0)


def test_a_stopped_call_store_lets_nothing_out_and_still_takes_in_what_comes_back(engine: Engine, loop: EventLoopThread) -> None:
    (lease,) = leases(engine, BudgetSpec(tokens=100), 1)
    with DatabaseCallStore(engine, lease) as call_store:
        room = loop.run(call_store.reserve(Amount(1, 100, None))).result(10)
        waits = loop.run(call_store.reserve(Amount(1, 100, None)))
        loop.call(call_store.stop)
        for attempt in (waits, loop.run(call_store.reserve(Amount(1, 1, None))), loop.run(call_store.recall("k"))):
            with pytest.raises(WorkInterruptedError):
                attempt.result(10)
        loop.call(call_store.record, call("k", job_id=lease.job_id))
        loop.call(call_store.settle, room, Amount(1, 5, None))
        loop.run(asyncio.sleep(0)).result(10)
    assert state(engine, lease.job_id).spent.tokens == 5
    with snapshot(engine) as session:
        assert set(reply_cache.recall(session, ["k"])) == {"k"}


def test_an_answer_is_recalled_at_once_and_is_durable_on_the_way_out(engine: Engine, loop: EventLoopThread, database_url: str) -> None:
    (lease,) = leases(engine, BudgetSpec(), 1)

    async def ask(call_store: DatabaseCallStore) -> list[object]:
        missing = await call_store.recall("k")
        call_store.record(call("k", job_id=lease.job_id, raw="first"))
        call_store.record(call("f", job_id=lease.job_id, status="refused"))
        found = await call_store.recall("k")
        return [missing, found and found.raw, await call_store.recall("f")]

    with DatabaseCallStore(engine, lease) as call_store:
        assert loop.run(ask(call_store)).result(10) == [None, "first", None]
    another = make_engine(database_url)
    with snapshot(another) as session:
        assert reply_cache.recall(session, ["k"])["k"].raw == "first"
        assert [row.status for row in calls.page(session, lease.job_id, feature=7)] == ["answered", "refused"]
    another.dispose()


def test_text_that_no_database_takes_is_kept_all_the_same(engine: Engine, loop: EventLoopThread) -> None:
    (lease,) = leases(engine, BudgetSpec(), 1)
    odd = call("k", job_id=lease.job_id, raw="lone \ud800 and \0", purpose="contexts")
    with DatabaseCallStore(engine, lease) as call_store:
        loop.call(call_store.record, odd)
        loop.run(call_store.recall("k")).result(10)
    with snapshot(engine) as session:
        assert reply_cache.recall(session, ["k"])["k"].raw == "lone \ud800 and \0"


def test_batches_outlive_the_worker(engine: Engine, loop: EventLoopThread) -> None:
    (lease,) = leases(engine, BudgetSpec(), 1)
    batch = PendingBatch("batch_1", BASE_URL, MODEL, ("a", "b"))
    with DatabaseCallStore(engine, lease) as call_store:
        loop.run(call_store.batch_submitted(batch)).result(10)
    completion.sweep(engine, lambda _owner: True, max_lost_leases=6)
    with DatabaseCallStore(engine, steps.take(engine, Queue.LLM)) as again:
        assert loop.run(again.pending_batches(BASE_URL, MODEL)).result(10) == [batch]
        loop.run(again.batch_ended("batch_1")).result(10)
        assert loop.run(again.pending_batches(BASE_URL, MODEL)).result(10) == []


def test_a_database_that_fails_for_a_while_loses_nothing(engine: Engine, loop: EventLoopThread, monkeypatch: pytest.MonkeyPatch) -> None:
    (lease,) = leases(engine, BudgetSpec(tokens=100), 1)
    save: Callable[..., None] = calls.save
    is_away = threading.Event()
    is_away.set()

    def fails_while_away(*arguments: object) -> None:
        if is_away.is_set():
            raise RuntimeError("the database is away")
        save(*arguments)

    with DatabaseCallStore(engine, lease) as call_store:
        room = loop.run(call_store.reserve(Amount(1, 50, None))).result(10)
        monkeypatch.setattr(calls, "save", fails_while_away)
        loop.call(call_store.record, call("k", job_id=lease.job_id))
        loop.call(call_store.settle, room, Amount(1, 9, None))
        loop.run(asyncio.sleep(0)).result(10)
        with pytest.raises(RuntimeError):
            call_store.__exit__()
        is_away.clear()
    with snapshot(engine) as session:
        assert set(reply_cache.recall(session, ["k"])) == {"k"}
    found = state(engine, lease.job_id)
    assert (found.spent.tokens, found.reserved.tokens) == (9, 0)
