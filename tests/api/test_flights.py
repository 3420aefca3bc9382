"""Many who ask the same at once: few looks, and no answer older than its question."""

import asyncio
import re
import threading

import pytest
from sqlalchemy import Engine, event

from api.http import event_stream
from api.http.event_stream import Feeds, stream
from api.http.single_flight import SingleFlight
from interp.domain.spec import JobSpec
from interp.store.db.engine import transaction
from interp.store.queue import jobs
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
        flights: SingleFlight[int] = SingleFlight()
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
        flights: SingleFlight[int] = SingleFlight()
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
        flights: SingleFlight[int] = SingleFlight()
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

    async def listen() -> list[list[bytes]]:
        feeds = Feeds(engine, lambda: False)
        seen: list[list[bytes]] = [[] for _ in range(100)]

        async def one(sent: list[bytes]) -> None:
            async for some in stream(feeds, job_id):
                sent.append(some)  # noqa: PERF401  # one at a time: the test watches the list grow

        tasks = [asyncio.create_task(one(sent)) for sent in seen]
        while not all(seen):
            await asyncio.sleep(0.01)
        first = len(statements)
        await asyncio.to_thread(cancel, engine, job_id)
        await asyncio.gather(*tasks)
        assert first < 100, "the first look alone would be some statements a stream"
        assert not feeds._feeds, "nothing is kept once nobody listens"
        return seen

    seen = asyncio.run(listen())
    assert all(sent == seen[0] for sent in seen)
    assert re.findall(r"^event: (\w+)$", b"".join(seen[0]).decode(), re.MULTILINE) == ["progress", "progress", "end"]


def test_who_hears_nothing_is_pinged(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = steps.running(engine)
    monkeypatch.setattr(event_stream, "PING_SECONDS", 0.05)

    async def listen() -> list[bytes]:
        sent = stream(Feeds(engine, lambda: False), job_id)
        return [await anext(sent) for _ in range(3)]

    first, *pings = asyncio.run(listen())
    assert first.startswith(b"retry: 2000\nevent: progress\n")
    assert pings == [b": ping\n\n"] * 2


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
