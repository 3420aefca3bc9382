"""A job's progress as server-sent events: the only asynchronous code of the API, because a stream waits far longer than it works."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
from fastapi.sse import ServerSentEvent
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool

from api import watching
from api.schemas import Progress
from interp.lifecycle import JOB_ENDS
from interp.store.engine import snapshot

POLL_SECONDS = 0.5
RETRY_MILLISECONDS = 2000
# These change with every look at the clock: alone they are no news.
CLOCK: Any = {"eta": True, "stages": {"__all__": {"seconds", "eta_seconds"}}}


async def stream(engine: Engine, job_id: str, is_stopping: Callable[[], bool]) -> AsyncIterator[ServerSentEvent]:
    """A `progress` event whenever the job has moved, and an `end` event when it is over. Each holds the whole state, so a client that
    comes back needs no Last-Event-ID. Ends without `end` when the server stops: the client comes back after `retry`.
    """
    number, last = 0, None
    while not is_stopping():
        progress = await run_in_threadpool(_read, engine, job_id)
        news = progress.model_dump(exclude=CLOCK)
        if news != last:
            yield ServerSentEvent(event="progress", data=progress, id=str(number), retry=None if number else RETRY_MILLISECONDS)
            number, last = number + 1, news
        if progress.status in JOB_ENDS:
            yield ServerSentEvent(event="end", data=progress, id=str(number))
            return
        await anyio.sleep(POLL_SECONDS)


def _read(engine: Engine, job_id: str) -> Progress:
    with snapshot(engine) as session:
        return watching.progress(session, job_id)
