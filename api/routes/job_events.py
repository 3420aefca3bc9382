"""Stream the progress of jobs as server-sent events."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import anyio
from anyio.to_thread import run_sync
from fastapi.sse import ServerSentEvent

from api.reads import jobs
from interp.domain.lifecycle import JOB_ENDS
from interp.store.db.engine import Engine, snapshot

POLL_SECONDS = 0.5
# A key that was revoked reads for this long at most.
PERMISSION_SECONDS = 30.0
RETRY_MILLISECONDS = 2000
# The number of threads, and of connections, that all streams together may use.
READERS = 4
# These change with time. A change of them alone sends no event.
CLOCK: Any = {"eta": True, "stages": {"__all__": {"seconds", "eta_seconds"}}}


@dataclass(frozen=True, slots=True)
class JobState:
    """A job's progress as JSON; a change of `key` sends an event."""

    text: str
    key: str
    is_over: bool


class ProgressReader:
    """A reader of jobs' progress on the event loop; streams of a job share reads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reads: dict[str, asyncio.Task[JobState]] = {}
        self._readers = anyio.CapacityLimiter(READERS)

    async def get(self, job_id: str) -> JobState:
        """Return the state of a job; raises NotFoundError."""
        task = self._reads.get(job_id)
        if task is None:
            task = self._reads[job_id] = asyncio.create_task(run_sync(self._read, job_id, limiter=self._readers))
            task.add_done_callback(lambda _: self._reads.pop(job_id))
        # A client that disconnects must not cancel the shared read.
        return await asyncio.shield(task)

    def _read(self, job_id: str) -> JobState:
        with snapshot(self._engine) as session:
            progress = jobs.progress(session, job_id)
        return JobState(progress.model_dump_json(), progress.model_dump_json(exclude=CLOCK), progress.status in JOB_ENDS)


class Permission:
    """Whether the reader of a stream may go on, asked every `PERMISSION_SECONDS`."""

    def __init__(self, is_current: Callable[[], Awaitable[bool]]) -> None:
        self._is_current = is_current
        self._asked_at = anyio.current_time()

    async def holds(self) -> bool:
        """Return the last answer, or a new one if that is too old."""
        if anyio.current_time() - self._asked_at < PERMISSION_SECONDS:
            return True
        self._asked_at = anyio.current_time()
        return await self._is_current()


async def stream(reader: ProgressReader, job_id: str, is_stopping: Callable[[], bool], permission: Permission) -> AsyncIterator[ServerSentEvent]:
    """Yield a `progress` event at every change of the job, and finally an `end` event.

    Each event holds the whole state, so a client that reconnects needs no Last-Event-ID. Without `end` the server stopped, or the key has ended:
    reconnect after `retry`.
    """
    number, key = 0, ""
    while not is_stopping() and await permission.holds():
        state = await reader.get(job_id)
        if state.key != key:
            retry = None if number else RETRY_MILLISECONDS
            yield ServerSentEvent(raw_data=state.text, event="progress", id=str(number), retry=retry)
            number, key = number + 1, state.key
        if state.is_over:
            yield ServerSentEvent(raw_data=state.text, event="end", id=str(number))
            return
        # All streams wake at the same time, so that those of one job share their reads.
        await anyio.sleep(POLL_SECONDS - anyio.current_time() % POLL_SECONDS)
