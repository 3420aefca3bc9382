"""Many who ask the same at once: few looks, and no answer older than its question."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
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
    flights: Flights[int] = Flights()
    looks: list[int] = []
    entered, leave = threading.Event(), threading.Event()

    def look() -> int:
        looks.append(len(looks))
        entered.set()
        assert leave.wait(30)
        return looks[-1]

    with ThreadPoolExecutor(ASKERS) as pool:
        first = pool.submit(flights.ask, "job", look)
        assert entered.wait(30)
        crowd = [pool.submit(flights.ask, "job", look) for _ in range(ASKERS - 1)]
        while not flights._waiting:  # until one of the crowd leads the next flight
            pass
        leave.set()
        assert first.result(30) == 0
        assert min(answer.result(30) for answer in crowd) == 1
    assert not flights._waiting
    assert not flights._under_way


def test_an_error_reaches_all_who_wait_and_nobody_after() -> None:
    flights: Flights[int] = Flights()

    def fail() -> int:
        raise ValueError("away")

    with pytest.raises(ValueError, match="away"):
        flights.ask("job", fail)
    assert flights.ask("job", lambda: 1) == 1


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
