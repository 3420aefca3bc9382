"""A job's progress as server-sent events: the only asynchronous code of the API, because a stream waits far longer than it works.

A job that is listened to is looked at once for all who listen, and what it says is made into text once: a thousand streams cost one look each half
second, and a write each. A client that reads slowly misses what is old and gets what is newest; nothing is kept for it.

FastAPI would run each stream through two more tasks with a queue each: of a thousand streams, that alone took a core.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import anyio
from anyio.to_thread import run_sync
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from api.presenters import jobs
from api.schemas import Progress
from interp.domain.lifecycle import JOB_ENDS
from interp.store.db.engine import Engine, snapshot

POLL_SECONDS = 0.5
# Where so many listen that this would be passed, looks are further apart: other requests need the event loop, too.
EVENTS_A_SECOND = 1_000
# A comment goes to who has heard nothing for so long, so that proxies keep the connection.
PING_SECONDS = 15.0
RETRY = b"retry: 2000\n"
# Looks at a time, of all feeds together: connections that streams take of those that requests need.
LOOKS = 4
# These change with every look at the clock: alone they are no news.
CLOCK: Any = {"eta": True, "stages": {"__all__": {"seconds", "eta_seconds"}}}


# Neither a browser nor a proxy shall keep events back.
UNBUFFERED = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class EventStream(StreamingResponse):
    """Server-sent events as they are to be written."""

    media_type = "text/event-stream"


@dataclass(frozen=True, slots=True)
class News:
    """A state of a job that differs from the one before. `events` holds what every stream sends of it."""

    number: int
    events: bytes
    is_over: bool


class JobEventStream:
    """One job, looked at as long as somebody listens. Lives on the event loop alone."""

    def __init__(self) -> None:
        self.listeners = 0
        self.task: asyncio.Task[None] | None = None
        self._news: News | None = None
        self._changed = asyncio.Event()
        self._error: Exception | None = None
        self._has_stopped = False

    async def run(self, look: Callable[[], Progress], is_stopping: Callable[[], bool], looks: anyio.CapacityLimiter) -> None:
        """Looks until the job is over, the server stops, or a look fails."""
        last: dict[str, Any] | None = None
        try:
            while not is_stopping():
                progress = await run_sync(look, limiter=looks)
                state = progress.model_dump(exclude=CLOCK)
                if state != last:
                    self._tell(progress)
                    last = state
                if progress.status in JOB_ENDS:
                    break
                await anyio.sleep(max(POLL_SECONDS, self.listeners / EVENTS_A_SECOND))
        except Exception as error:  # every stream raises it, as if it had looked itself
            self._error = error
        self._has_stopped = True
        self._changed.set()

    async def after(self, number: int) -> News | None:
        """The newest state, as soon as there is one beyond `number`; None when no more will come. Raises what a look raised."""
        while self._news is None or self._news.number <= number:
            if self._error is not None:
                raise self._error
            if self._has_stopped:
                return None
            await self._changed.wait()
        return self._news

    @property
    def has_stopped(self) -> bool:
        """Whether it looks no more."""
        return self._has_stopped

    def _tell(self, progress: Progress) -> None:
        number = 0 if self._news is None else self._news.number + 1
        text, is_over = progress.model_dump_json(), progress.status in JOB_ENDS
        events = format_sse_event(data_str=text, event="progress", id=str(number))
        if is_over:
            events += format_sse_event(data_str=text, event="end", id=str(number + 1))
        self._news = News(number, events, is_over)
        self._changed.set()
        self._changed = asyncio.Event()


class Feeds:
    """The feeds of a server's streams, by job."""

    def __init__(self, engine: Engine, is_stopping: Callable[[], bool]) -> None:
        self._engine, self._is_stopping = engine, is_stopping
        self._feeds: dict[str, JobEventStream] = {}
        self._looks = anyio.CapacityLimiter(LOOKS)

    @contextmanager
    def of(self, job_id: str) -> Iterator[JobEventStream]:
        """The job's feed, shared with all who listen meanwhile."""
        feed = self._feeds.get(job_id)
        if feed is None or feed.has_stopped:
            feed = self._feeds[job_id] = JobEventStream()
            feed.task = asyncio.create_task(feed.run(lambda: self._look(job_id), self._is_stopping, self._looks))
        feed.listeners += 1
        try:
            yield feed
        finally:
            feed.listeners -= 1
            if not feed.listeners:
                if feed.task is not None:
                    feed.task.cancel()
                if self._feeds.get(job_id) is feed:
                    del self._feeds[job_id]

    def _look(self, job_id: str) -> Progress:
        with snapshot(self._engine) as session:
            return jobs.progress(session, job_id)


async def stream(feeds: Feeds, job_id: str) -> AsyncIterator[bytes]:
    """A `progress` event whenever the job has moved, and an `end` event when it is over. Each holds the whole state, so a client that
    comes back needs no Last-Event-ID. Ends without `end` when the server stops: the client comes back after `retry`.
    """
    with feeds.of(job_id) as feed:
        news = await feed.after(-1)
        if news is not None:
            yield RETRY + news.events
        while news is not None and not news.is_over:
            try:
                async with asyncio.timeout(PING_SECONDS):
                    news = await feed.after(news.number)
            except TimeoutError:
                yield KEEPALIVE_COMMENT
            else:
                if news is not None:
                    yield news.events
