"""The event stream, over a real server: it says what changes, and ends with the job or with the server."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy
from fastapi.sse import ServerSentEvent
from sqlalchemy import Engine

from api.routes import job_events
from api.routes.job_events import Permission, ProgressReader, stream
from api.server import Service
from glossator import NO_RETRIES, Client, Event, UnreachableError
from interp.config.settings import Settings
from interp.domain.errors import NotFoundError
from interp.domain.spec import JobSpec
from interp.store.db.engine import transaction
from interp.store.queue import jobs
from tests.store import steps

DEADLINE = 120.0


@pytest.fixture(scope="module")
def service(service_settings: Settings, store: Engine) -> Iterator[Service]:
    with Service(service_settings, "127.0.0.1", 0, workers=False) as found:
        yield found


async def anyone() -> bool:
    return True


def collect(client: Client, job_id: str) -> tuple[list[Event], threading.Thread]:
    """The events of a job as they come, and the thread that listens until the stream ends."""
    seen: list[Event] = []

    def listen() -> None:
        with suppress(UnreachableError):
            for event in client.stream_job_events(job_id):
                seen.append(event)  # noqa: PERF402  # one at a time: the test watches the list grow

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    return seen, thread


def wait_for(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_a_stream_tells_of_each_change_and_ends_with_the_job(service: Service, tiny_job: JobSpec) -> None:
    with Client(service.url) as client:
        job = client.submit_job(tiny_job.model_dump(mode="json"))
        seen, thread = collect(client, job["id"])
        wait_for(lambda: seen)
        assert (seen[0].name, seen[0].data["status"]) == ("progress", "queued")
        with Client(service.url) as other:
            other.cancel_job(job["id"])
        thread.join(DEADLINE)
        assert not thread.is_alive()
        assert [(event.name, event.data["status"]) for event in seen] == [("progress", "queued"), ("progress", "cancelled"), ("end", "cancelled")]
        assert seen[-1].data["finished_at"]


def test_a_stream_of_an_ended_job_ends_at_once_and_hints_when_to_come_back(service: Service, tiny_job: JobSpec) -> None:
    with Client(service.url) as client:
        job = client.submit_job(tiny_job.model_dump(mode="json"))
        client.cancel_job(job["id"])
    response = httpx.get(f"{service.url}/v1/jobs/{job['id']}/events", timeout=DEADLINE)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert "retry: 2000" in response.text
    assert [line for line in response.text.splitlines() if line.startswith("event:")] == ["event: progress", "event: end"]


def test_a_stream_of_an_unknown_job_is_a_problem(service: Service) -> None:
    response = httpx.get(f"{service.url}/v1/jobs/nobody/events")
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


def test_a_server_stops_while_somebody_listens(service_settings: Settings, store: Engine, tiny_job: JobSpec, tmp_path: Path) -> None:
    with Service(service_settings.model_copy(update={"home": tmp_path}), "127.0.0.1", 0, workers=False) as stopping:
        client = Client(stopping.url, retries=NO_RETRIES)
        job = client.submit_job(tiny_job.model_dump(mode="json"))
        seen, thread = collect(client, job["id"])
        wait_for(lambda: seen)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    thread.join(DEADLINE)
    assert not thread.is_alive()
    client.close()
    assert [event.name for event in seen] == ["progress"]


def test_a_hundred_streams_of_one_job_share_their_reads(engine: Engine) -> None:
    job_id = steps.running(engine)
    statements: list[str] = []
    sqlalchemy.event.listen(engine, "before_cursor_execute", lambda _c, _u, statement, *_: statements.append(statement))

    async def listen() -> list[list[ServerSentEvent]]:
        reader = ProgressReader(engine)
        seen: list[list[ServerSentEvent]] = [[] for _ in range(100)]

        async def one(events: list[ServerSentEvent]) -> None:
            async for event in stream(reader, job_id, lambda: False, Permission(anyone)):
                events.append(event)  # noqa: PERF401  # one at a time: the test watches the list grow

        tasks = [asyncio.create_task(one(events)) for events in seen]
        while not all(seen):
            await asyncio.sleep(0.01)
        first = len(statements)
        await asyncio.to_thread(cancel, engine, job_id)
        await asyncio.gather(*tasks)
        assert first < 100, "one read per stream would be some statements each"
        assert not reader._reads, "nothing is kept once no stream is left"
        return seen

    seen = asyncio.run(listen())
    assert all(events == seen[0] for events in seen)
    assert [event.event for event in seen[0]] == ["progress", "progress", "end"]
    assert [event.retry for event in seen[0]] == [2000, None, None]


def test_a_client_that_goes_away_leaves_the_read_to_the_others(engine: Engine) -> None:
    job_id = steps.running(engine)

    async def read() -> str:
        reader = ProgressReader(engine)
        first, second = (asyncio.create_task(reader.get(job_id)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        return (await second).text

    assert json.loads(asyncio.run(read()))["status"] == "running"


def test_a_read_that_fails_ends_the_stream_with_its_error(engine: Engine) -> None:
    async def listen() -> None:
        async for _ in stream(ProgressReader(engine), "nobody", lambda: False, Permission(anyone)):
            raise AssertionError("there is no such job")

    with pytest.raises(NotFoundError, match="There is no job nobody"):
        asyncio.run(listen())


def cancel(engine: Engine, job_id: str) -> None:
    with transaction(engine) as session:
        jobs.cancel(session, job_id)


def test_a_stream_ends_without_an_end_once_its_key_is_revoked(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_events, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(job_events, "PERMISSION_SECONDS", 0.05)
    job_id, answers = steps.running(engine), iter([True, True, False])

    async def is_current() -> bool:
        return next(answers)

    async def listen() -> list[str | None]:
        return [event.event async for event in stream(ProgressReader(engine), job_id, lambda: False, Permission(is_current))]

    assert asyncio.run(listen()) == ["progress"]
    assert next(answers, None) is None, "it was asked again and again until it was refused"
