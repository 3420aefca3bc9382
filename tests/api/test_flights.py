"""Many who ask the same at once: few looks, and no answer older than its question."""

import asyncio
import threading
from typing import Any

import pytest
from sqlalchemy import Engine, event

from api.events import Feeds, stream
from api.flights import Flights
from interp.spec import JobSpec
from interp.store import jobs
from interp.store.engine import transaction
from tests.store import steps

ASKERS = 20


def test_nobody_is_answered_by_what_was_seen_before_they_asked() -> None:
    looks: list[int] = []
    entered, leave = threading.Event(), threading.Event()

    def look() -> int:
        looks.append(len(looks))
        number = looks[-1]
        entered.set()
        assert leave.wait(30)
        return number

    async def ask() -> None:
        flights: Flights[int] = Flights()
        first = asyncio.create_task(flights.ask("job", look))
        await asyncio.to_thread(entered.wait, 30)
        crowd = [asyncio.create_task(flights.ask("job", look)) for _ in range(ASKERS)]
        while not flights._waiting:
            await asyncio.sleep(0)
        leave.set()
        assert await first == 0
        assert set(await asyncio.gather(*crowd)) == {1}
        assert not flights._waiting
        assert not flights._under_way

    asyncio.run(ask())


def test_an_error_reaches_all_who_wait_and_nobody_after() -> None:
    def fail() -> int:
        raise ValueError("away")

    async def ask() -> None:
        flights: Flights[int] = Flights()
        errors = await asyncio.gather(*(flights.ask("job", fail) for _ in range(ASKERS)), return_exceptions=True)
        assert [str(error) for error in errors] == ["away"] * ASKERS
        assert await flights.ask("job", lambda: 1) == 1

    asyncio.run(ask())


def test_a_client_that_goes_away_takes_nothing_from_the_others() -> None:
    entered, leave = threading.Event(), threading.Event()

    def look() -> int:
        entered.set()
        assert leave.wait(30)
        return 7

    async def ask() -> None:
        flights: Flights[int] = Flights()
        first, second = (asyncio.create_task(flights.ask("job", look)) for _ in range(2))
        await asyncio.to_thread(entered.wait, 30)
        first.cancel()
        leave.set()
        assert await second == 7
        assert first.cancelled()

    asyncio.run(ask())


def test_a_hundred_streams_of_one_job_cost_one_look_each_half_second(engine: Engine) -> None:
    job_id = steps.running(engine)
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda _c, _u, statement, *_: statements.append(statement))

    async def listen() -> list[list[Any]]:
        feeds = Feeds(engine, lambda: False)
        seen: list[list[Any]] = [[] for _ in range(100)]

        async def one(events: list[Any]) -> None:
            async for news in stream(feeds, job_id):
                events.append((news.event, news.raw_data))  # noqa: PERF401

        tasks = [asyncio.create_task(one(events)) for events in seen]
        while not all(seen):
            await asyncio.sleep(0.01)
        first = len(statements)
        await asyncio.to_thread(cancel, engine, job_id)
        await asyncio.gather(*tasks)
        assert first < 100, "the first look alone would be some statements a stream"
        assert not feeds._feeds, "nothing is kept once nobody listens"
        return seen

    seen = asyncio.run(listen())
    assert all(events == seen[0] for events in seen)
    assert [kind for kind, _ in seen[0]] == ["progress", "progress", "end"]


def cancel(engine: Engine, job_id: str) -> None:
    with transaction(engine) as session:
        jobs.cancel(session, job_id)


def test_a_look_that_fails_ends_every_stream_with_its_error(engine: Engine, tiny_job: JobSpec) -> None:
    async def listen() -> None:
        feeds = Feeds(engine, lambda: False)
        async for _ in stream(feeds, "nobody"):
            raise AssertionError("there is nothing to tell")

    with pytest.raises(Exception, match="There is no job nobody"):
        asyncio.run(listen())
