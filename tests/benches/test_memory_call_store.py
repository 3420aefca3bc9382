"""Books in memory: caps that are never passed, waiting while room may come back."""

import asyncio
import random

import pytest

from benches.memory_call_store import MemoryCallStore
from interp.domain.errors import BudgetReachedError, PriceUnknownError
from interp.domain.spec import BudgetSpec
from interp.llm.call_store import Amount


def test_a_reservation_waits_while_others_may_give_room_back() -> None:
    async def run() -> None:
        call_store = MemoryCallStore(BudgetSpec(tokens=100))
        first = await call_store.reserve(Amount(1, 80, None))
        waiting = asyncio.create_task(call_store.reserve(Amount(1, 80, None)))
        await asyncio.sleep(0)
        assert not waiting.done()
        call_store.settle(first, Amount(1, 15, None))
        second = await waiting
        call_store.settle(second, Amount(1, 80, None))
        assert call_store.spent.tokens == 95

    asyncio.run(run())


def test_when_nothing_can_come_back_the_budget_is_reached() -> None:
    async def run() -> None:
        call_store = MemoryCallStore(BudgetSpec(calls=1))
        call_store.settle(await call_store.reserve(Amount(1, 1, None)), Amount(1, 1, None))
        with pytest.raises(BudgetReachedError, match="budget of 1 calls"):
            await call_store.reserve(Amount(1, 1, None))

    asyncio.run(run())


def test_a_cap_in_usd_needs_a_price() -> None:
    with pytest.raises(PriceUnknownError):
        asyncio.run(MemoryCallStore(BudgetSpec(usd=1.0)).reserve(Amount(1, 1, None)))


@pytest.mark.parametrize("budget", [BudgetSpec(calls=100), BudgetSpec(tokens=5000), BudgetSpec(usd=0.05)])
def test_no_cap_is_ever_passed_with_64_at_once(budget: BudgetSpec) -> None:
    draw = random.Random(0)

    async def one(call_store: MemoryCallStore) -> None:
        bound = draw.randrange(20, 200)
        reserved = await call_store.reserve(Amount(1, bound, bound * 1e-5))
        await asyncio.sleep(0)
        used = draw.randrange(1, bound + 1)
        call_store.settle(reserved, Amount(1, used, used * 1e-5))

    async def worker(call_store: MemoryCallStore) -> None:
        while True:
            await one(call_store)

    async def run() -> MemoryCallStore:
        call_store = MemoryCallStore(budget)
        ends = await asyncio.gather(*(worker(call_store) for _ in range(64)), return_exceptions=True)
        assert all(isinstance(end, BudgetReachedError) for end in ends)
        return call_store

    call_store = asyncio.run(run())
    for cap, peak in zip(
        (budget.calls, budget.tokens, budget.usd), (call_store.peak.calls, call_store.peak.tokens, call_store.peak.usd or 0), strict=True
    ):
        assert cap is None or cap * 0.5 < peak <= cap * (1 + 1e-9)
