"""When nothing can succeed, nothing is tried; and when it can again, it is."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from interp.domain.errors import EndpointUnreachableError, JobPausedError, KeyRefusedError, QuotaExhaustedError
from interp.llm.circuit_breaker import REJECTIONS, Breaker
from interp.llm.transports.base import TransportError

DROPPED = TransportError("dropped", "connection reset")
LIMITED = TransportError("status", "slow down", status=429)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def made() -> tuple[Breaker, Clock]:
    clock = Clock()
    return Breaker("http://x/v1", max_outage=60, cool_down=5, clock=clock), clock


def on_loop(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 20))  # type: ignore[arg-type]


def test_an_open_breaker_raises_the_same_error_at_once() -> None:
    async def work() -> None:
        breaker, _ = made()
        breaker.open(KeyRefusedError("The endpoint refuses the key.", cure="Set it.", status=401))
        for _ in range(3):
            with pytest.raises(KeyRefusedError, match=r"refuses the key\. Set it") as raised:
                await breaker.admit()
            assert raised.value.details == {"status": 401}

    on_loop(work)


def test_faults_without_one_success_end_the_patience() -> None:
    breaker, clock = made()
    for _ in range(100):
        breaker.failed(DROPPED)
        clock.now += 0.5
    assert not breaker.is_open  # 50 s
    clock.now += 11
    breaker.failed(DROPPED)
    with pytest.raises(EndpointUnreachableError, match="connection reset"):
        breaker.check()


def test_one_success_renews_the_patience() -> None:
    breaker, clock = made()
    for _ in range(100):
        breaker.failed(DROPPED)
        clock.now += 59
        breaker.succeeded()
    assert not breaker.is_open


def test_announced_waits_are_waited_for_but_not_for_ever() -> None:
    breaker, clock = made()
    for _ in range(4):
        breaker.failed(LIMITED, wait=60)
        clock.now += 60
    assert not breaker.is_open
    breaker.failed(LIMITED, wait=3600)
    with pytest.raises(QuotaExhaustedError, match="come back in 3600 s"):
        breaker.check()


def test_many_rejections_and_no_answer_are_the_settings_fault() -> None:
    breaker, _ = made()
    for _ in range(REJECTIONS - 1):
        breaker.rejected("no such field: foo")
    breaker.succeeded()
    for _ in range(REJECTIONS - 1):
        breaker.rejected("no such field: foo")
    assert not breaker.is_open
    breaker.rejected("no such field: foo")
    with pytest.raises(JobPausedError, match="no such field: foo"):
        breaker.check()


def test_after_the_cool_down_one_call_tries_and_the_others_wait_for_it() -> None:
    async def work() -> None:
        breaker, clock = made()
        breaker.open(KeyRefusedError("no"))
        clock.now += 6
        assert await breaker.admit() is True
        others = [asyncio.create_task(breaker.admit()) for _ in range(10)]
        await asyncio.sleep(0)
        assert not any(other.done() for other in others)
        breaker.succeeded()
        assert await asyncio.gather(*others) == [False] * 10

    on_loop(work)


def test_a_failed_trial_sends_the_others_home() -> None:
    async def work() -> None:
        breaker, clock = made()
        breaker.open(KeyRefusedError("no"))
        clock.now += 6
        await breaker.admit()
        others = [asyncio.create_task(breaker.admit()) for _ in range(10)]
        await asyncio.sleep(0)
        breaker.failed(DROPPED)
        ends = await asyncio.gather(*others, return_exceptions=True)
        assert all(isinstance(end, KeyRefusedError) for end in ends)

    on_loop(work)


def test_a_trial_that_is_given_up_lets_the_next_one_try() -> None:
    async def work() -> None:
        breaker, clock = made()
        breaker.open(KeyRefusedError("no"))
        clock.now += 6
        await breaker.admit()
        other = asyncio.create_task(breaker.admit())
        await asyncio.sleep(0)
        breaker.abandoned()
        assert await other is True

    on_loop(work)


def test_rejections_that_come_late_do_not_close_it_and_a_rejected_trial_keeps_it_open() -> None:
    async def work() -> None:
        breaker, clock = made()
        for _ in range(REJECTIONS + 30):
            breaker.rejected("no such field: foo")
        assert breaker.is_open
        clock.now += 6
        assert await breaker.admit()
        breaker.rejected("no such field: foo")
        with pytest.raises(JobPausedError, match="no such field"):
            await breaker.admit()

    on_loop(work)


def test_a_rejected_trial_shows_that_the_key_works_again() -> None:
    async def work() -> None:
        breaker, clock = made()
        breaker.open(KeyRefusedError("no"))
        clock.now += 6
        assert await breaker.admit()
        breaker.rejected("too odd")
        assert not breaker.is_open

    on_loop(work)
