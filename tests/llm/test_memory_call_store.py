"""Books in memory: caps that are never passed, waiting while room may come back."""

import asyncio
import random

import pytest

from interp.domain.errors import BudgetReachedError, PriceUnknownError
from interp.domain.spec import BudgetSpec
from interp.llm.call_store import Amount
from interp.llm.memory_call_store import MemoryCallStore


def test_a_reservation_waits_while_others_may_give_room_back() -> None:
    async def run() -> None:
        books = MemoryCallStore(BudgetSpec(tokens=100))
        first = await books.reserve(Amount(1, 80, None))
        waiting = asyncio.create_task(books.reserve(Amount(1, 80, None)))
        await asyncio.sleep(0)
        assert not waiting.done()
        books.settle(first, Amount(1, 15, None))
        second = await waiting
        books.settle(second, Amount(1, 80, None))
        assert books.spent.tokens == 95

    asyncio.run(run())


def test_when_nothing_can_come_back_the_budget_is_reached() -> None:
    async def run() -> None:
        books = MemoryCallStore(BudgetSpec(calls=1))
        books.settle(await books.reserve(Amount(1, 1, None)), Amount(1, 1, None))
        with pytest.raises(BudgetReachedError, match="budget of 1 calls"):
            await books.reserve(Amount(1, 1, None))

    asyncio.run(run())


def test_a_cap_in_usd_needs_a_price() -> None:
    with pytest.raises(PriceUnknownError):
        asyncio.run(MemoryCallStore(BudgetSpec(usd=1.0)).reserve(Amount(1, 1, None)))


@pytest.mark.parametrize("budget", [BudgetSpec(calls=100), BudgetSpec(tokens=5000), BudgetSpec(usd=0.05)])
def test_no_cap_is_ever_passed_with_64_at_once(budget: BudgetSpec) -> None:
    draw = random.Random(0)

    async def one(books: MemoryCallStore) -> None:
        bound = draw.randrange(20, 200)
        reserved = await books.reserve(Amount(1, bound, bound * 1e-5))
        await asyncio.sleep(0)
        used = draw.randrange(1, bound + 1)
        books.settle(reserved, Amount(1, used, used * 1e-5))

    async def worker(books: MemoryCallStore) -> None:
        while True:
            await one(books)

    async def run() -> MemoryCallStore:
        books = MemoryCallStore(budget)
        ends = await asyncio.gather(*(worker(books) for _ in range(64)), return_exceptions=True)
        assert all(isinstance(end, BudgetReachedError) for end in ends)
        return books

    books = asyncio.run(run())
    for cap, peak in zip((budget.calls, budget.tokens, budget.usd), (books.peak.calls, books.peak.tokens, books.peak.usd or 0), strict=True):
        assert cap is None or cap * 0.5 < peak <= cap * (1 + 1e-9)
