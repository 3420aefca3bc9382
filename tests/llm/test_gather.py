"""Questions side by side: what is under way when one fails is not thrown away."""

import asyncio

import pytest

from interp.domain.errors import BudgetReachedError
from interp.llm.gather import gather_all


def test_answers_come_in_the_order_of_the_questions():
    async def late(turns, value):
        for _ in range(turns):
            await asyncio.sleep(0)
        return value

    assert asyncio.run(gather_all(late(3 - value, value) for value in range(3))) == [0, 1, 2]


def test_a_pause_waits_for_calls_under_way_and_comes_before_other_errors():
    """A call that is cut off is paid for and its answer lost."""
    ended = []

    async def scene():
        sent = asyncio.Event()

        async def under_way():
            sent.set()
            for _ in range(5):
                await asyncio.sleep(0)
            ended.append("answer")

        async def fails(error):
            await sent.wait()
            raise error

        await gather_all([fails(ValueError("a defect")), fails(BudgetReachedError("The budget is reached.")), under_way()])

    with pytest.raises(BudgetReachedError):
        asyncio.run(scene())
    assert ended == ["answer"]


def test_cancelled_from_outside_it_cancels_all():
    ended = []

    async def waits():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    async def scene():
        task = asyncio.create_task(gather_all([waits(), waits()]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scene())
    assert ended == ["cancelled", "cancelled"]
