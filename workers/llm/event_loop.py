"""One event loop a process, in a thread of its own: everything that waits for a language model lives there, whichever chunk it is for.

A loop a chunk with a client that outlives it ends in "Event loop is closed". Worker threads hand coroutines over and watch them.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from interp.domain.errors import JobPausedError
from workers.runtime.singleton import one_a_process

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `poll`: how often the watching thread looks; `stop`: what calls in flight get to end in when the worker stops or its lease is
    gone; `pause`: when the job is about to pause, since they are paid for."""

    poll: float = 0.2
    stop: float = 5.0
    pause: float = 120.0


class EventLoopThread:
    """An event loop that runs until `close`. Made once a process, see `the_loop`; tests make their own."""

    def __init__(self) -> None:
        self._loop = _new_loop()
        self._thread = threading.Thread(target=self._run, name="llm-loop", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Made]) -> "Future[Made]":
        """Starts the coroutine on the loop; from any thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(self, action: Callable[..., object], *arguments: object) -> None:
        """Calls a plain function on the loop, soon; from any thread. Nothing happens on a loop that is closed."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(action, *arguments)

    def close(self) -> None:
        """Stops the loop; what still runs on it is dropped."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()


@one_a_process
def the_loop() -> EventLoopThread:
    """This process's loop."""
    return EventLoopThread()


@dataclass
class TaskGroupRunner(Generic[Made]):
    """Coroutines that work side by side on one chunk: all of them end well, or the first error ends all.

    `stop` is called with that error on the loop, once: it must let no more calls out, so that each coroutine ends at its next one.
    """

    work: Sequence[Coroutine[Any, Any, Made]]
    stop: Callable[[BaseException], None]
    patience: Timeouts = Timeouts()
    done: int = 0
    _halt: "asyncio.Future[None] | None" = field(default=None, init=False)

    def run(self, loop: EventLoopThread, progress: Callable[[int], None]) -> list[Made]:
        """Runs all of them; their results, in order. `progress` gets how many have ended, again and again, and stops all by raising.

        Raises the first error of any, or of `progress`.
        """
        ready = threading.Event()
        future = loop.run(self._all(ready))
        ready.wait()
        stopped: BaseException | None = None
        while True:
            try:
                made = future.result(self.patience.poll)
                break
            except TimeoutError:
                if future.done():
                    raise
            try:
                progress(self.done)
            except BaseException as error:
                if stopped is None:
                    stopped = error
                    loop.call(self._stop_waiting, error)
        progress(self.done)
        return made

    async def _all(self, ready: threading.Event) -> list[Made]:
        self._halt = asyncio.get_running_loop().create_future()
        ready.set()
        tasks: list[asyncio.Task[Made]] = []
        for work in self.work:
            tasks.append(asyncio.create_task(work))
            tasks[-1].add_done_callback(lambda _task: self._count(len(self.work)))
            await asyncio.sleep(0)  # its first questions go out before the next one's are made up
        if not tasks:
            self._halt.set_result(None)
        watched: list[asyncio.Future[Any]] = [*tasks, self._halt]
        await asyncio.wait(watched, return_when=asyncio.FIRST_EXCEPTION)
        error = _first_error(watched)
        if error is not None:
            await self._wind_down(tasks, error)
            raise error
        return [task.result() for task in tasks]

    async def _wind_down(self, tasks: Sequence["asyncio.Task[Made]"], error: BaseException) -> None:
        self.stop(error)
        going = [task for task in tasks if not task.done()]
        if going and isinstance(error, JobPausedError) and self._halt is not None and not self._halt.done():
            ends: asyncio.Future[Any] = asyncio.ensure_future(asyncio.wait(going))
            await asyncio.wait([ends, self._halt], timeout=self.patience.pause, return_when=asyncio.FIRST_COMPLETED)
            ends.cancel()
        elif going:
            await asyncio.wait(going, timeout=self.patience.stop)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _count(self, of: int) -> None:
        self.done += 1
        if self.done == of and self._halt is not None and not self._halt.done():
            self._halt.set_result(None)

    def _stop_waiting(self, error: BaseException) -> None:
        if self._halt is not None and not self._halt.done():
            self._halt.set_exception(error)


def _first_error(futures: Sequence["asyncio.Future[Any]"]) -> BaseException | None:
    for future in futures:
        if future.done() and future.cancelled():
            return asyncio.CancelledError("a task was cancelled from outside")
        if future.done() and (error := future.exception()) is not None:
            return error
    return None


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
