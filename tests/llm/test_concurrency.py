"""How many calls are in flight: growth, cuts, pauses, fairness."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from interp.llm.concurrency import ConcurrencyLimiter, duration


def on_loop(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 20))  # type: ignore[arg-type]


async def round_trip(limiter: ConcurrencyLimiter, outcome: str = "success") -> int:
    """All that fit are sent, then all come back. How many there were."""
    permits = [await limiter.acquire() for _ in range(int(limiter.window))]
    for permit in permits:
        limiter.release(permit, outcome)  # type: ignore[arg-type]
    return len(permits)


def test_slow_start_doubles_until_the_ceiling() -> None:
    async def work() -> None:
        limiter = ConcurrencyLimiter(ceiling=100, start=8)
        assert [await round_trip(limiter) for _ in range(6)] == [8, 16, 32, 64, 100, 100]

    on_loop(work)


def test_one_push_back_a_round_trip_cuts_once_and_then_it_grows_slowly() -> None:
    async def work() -> None:
        limiter = ConcurrencyLimiter(ceiling=64, start=64)
        await round_trip(limiter, "pushed_back")
        assert limiter.window == pytest.approx(64 * 0.7)
        before = limiter.window
        await round_trip(limiter)
        assert before + 2 < limiter.window < before + 6  # a sixteenth of the ceiling, not twice the window

    on_loop(work)


def test_an_endpoint_that_only_pushes_back_is_asked_one_at_a_time() -> None:
    async def work() -> None:
        limiter = ConcurrencyLimiter(ceiling=64)
        for _ in range(30):
            await round_trip(limiter, "pushed_back")
        assert limiter.window == 1.0

    on_loop(work)


def test_a_window_that_is_not_used_does_not_grow() -> None:
    async def work() -> None:
        limiter = ConcurrencyLimiter(ceiling=64, start=8)
        for _ in range(50):
            limiter.release(await limiter.acquire(), "success")
        assert limiter.window == 8

    on_loop(work)


def test_the_window_is_never_passed_and_everybody_gets_a_turn_in_order() -> None:
    async def work() -> None:
        limiter = ConcurrencyLimiter(ceiling=5, start=5)
        turns: list[int] = []
        most = 0

        async def one(number: int) -> None:
            nonlocal most
            permit = await limiter.acquire()
            turns.append(number)
            most = max(most, limiter.in_flight)
            await asyncio.sleep(0)
            limiter.release(permit, "other")

        await asyncio.gather(*(one(number) for number in range(200)))
        assert most == 5 and turns == list(range(200)) and limiter.in_flight == 0

    on_loop(work)


def test_a_pause_holds_everybody_until_its_end() -> None:
    async def work() -> None:
        limiter, loop = ConcurrencyLimiter(ceiling=8), asyncio.get_running_loop()
        limiter.pause(0.15)
        began = loop.time()
        await asyncio.gather(*(limiter.acquire() for _ in range(8)))
        assert loop.time() - began >= 0.14

    on_loop(work)


def test_a_waiter_that_leaves_takes_no_room_with_it() -> None:
    async def work() -> None:
        limiter = ConcurrencyLimiter(ceiling=1)
        permit = await limiter.acquire()
        leaving = asyncio.create_task(limiter.acquire())
        staying = asyncio.create_task(limiter.acquire())
        await asyncio.sleep(0)
        limiter.release(permit, "other")
        leaving.cancel()  # just as the turn was given to it
        await asyncio.wait_for(staying, 5)
        assert leaving.cancelled() and limiter.in_flight == 1

    on_loop(work)


@pytest.mark.parametrize(
    ("headers", "pauses"),
    [
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "100ms"}, True),
        ({"x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "1m0s"}, False),
        ({"x-ratelimit-remaining-tokens": "99", "x-ratelimit-reset-tokens": "0.1s"}, True),
        ({"x-ratelimit-remaining-tokens": "100", "x-ratelimit-reset-tokens": "6m0s"}, False),
        ({"x-ratelimit-remaining-requests": "0"}, False),
        ({"x-ratelimit-remaining-requests": "none", "x-ratelimit-reset-requests": "later"}, False),
    ],
)
def test_rate_limit_headers_are_observed(headers: dict[str, str], pauses: bool) -> None:
    async def work() -> None:
        limiter = ConcurrencyLimiter(ceiling=8)
        limiter.observe(headers, tokens=100)
        began = asyncio.get_running_loop().time()
        await limiter.acquire()
        assert (asyncio.get_running_loop().time() - began >= 0.09) == pauses

    on_loop(work)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1.0), ("6m0s", 360.0), ("20ms", 0.02), ("1h2m3.5s", 3723.5), ("59.7", 59.7), ("1d", 86400.0), ("later", None), ("1x", None), ("", None)],
)
def test_durations(text: str, seconds: float | None) -> None:
    assert duration(text) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_every_pause_ends(loop: str) -> None:
    """However its end falls between two ticks of the loop's clock: who waits is never forgotten."""

    async def many() -> None:
        limiter = ConcurrencyLimiter(1)
        for number in range(400):
            limiter.pause(0.0005 + number * 0.0000137)
            permit = await asyncio.wait_for(limiter.acquire(), 5)
            limiter.release(permit, "other")

    factory = pytest.importorskip("uvloop").new_event_loop if loop == "uvloop" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(many())
