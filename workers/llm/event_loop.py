"""Run a process's event loop and language model client, for all chunks' coroutines.

A loop per chunk with a client that outlives it ends in "Event loop is closed". Worker threads submit coroutines and watch them.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Hashable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

import uvloop

from interp.config.settings import Settings
from interp.domain.errors import JobPausedError

if TYPE_CHECKING:
    from interp.llm.client import LlmClient

P = ParamSpec("P")
T = TypeVar("T")

CLOSE_SECONDS = 5.0

_clients: dict[Settings, "LlmClient"] = {}
_creating = threading.Lock()


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Timeouts in seconds.

    `poll`: between two reports of progress. `stop`, `pause`: for calls in flight to end when the work stops, and when the job pauses. Calls of a
    pausing job get longer, since they are paid for.
    """

    poll: float
    stop: float
    pause: float


class EventLoopThread:
    """An event loop that runs until `close`; `the_loop` returns the process's only one."""

    def __init__(self) -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="llm-loop", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Start a coroutine on the loop, from any thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(self, action: Callable[..., object], *arguments: object) -> None:
        """Call a plain function on the loop, from any thread."""
        self._loop.call_soon_threadsafe(action, *arguments)

    def close(self) -> None:
        """Stop the loop, and drop what still runs on it."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()


def one_per_process(make: Callable[P, T]) -> Callable[P, T]:
    """Call `make` once per positional arguments, even in racing threads (unlike functools.cache)."""
    lock = threading.Lock()
    made: dict[Hashable, T] = {}

    @wraps(make)
    def get(*args: P.args, **kwargs: P.kwargs) -> T:
        with lock:
            if args not in made:
                made[args] = make(*args, **kwargs)
            return made[args]

    return get


@one_per_process
def the_loop() -> EventLoopThread:
    return EventLoopThread()


def client_of(settings: Settings) -> "LlmClient":
    """Return the process's client for the endpoints of the settings."""
    from interp.llm.client import LlmClient  # a process whose jobs make no calls does not need it

    with _creating:
        if settings not in _clients:
            _clients[settings] = LlmClient(settings)
        return _clients[settings]


def close_clients() -> None:
    """Close the process's connections when it stops, or after a test, without open chunks."""
    with _creating:
        for client in _clients.values():
            the_loop().run(client.close()).result(CLOSE_SECONDS)
        _clients.clear()


@dataclass
class TaskGroupRunner(Generic[T]):
    """Concurrent coroutines: all of them succeed, or the first error ends all.

    `stop` is called with that error on the loop, once: it must admit no more calls, so that each coroutine ends at its next one.
    """

    work: Sequence[Coroutine[Any, Any, T]]
    stop: Callable[[BaseException], None]
    timeouts: Timeouts
    _done: int = field(default=0, init=False)
    _ended: threading.Event = field(default_factory=threading.Event, init=False)

    def run(self, loop: EventLoopThread, progress: Callable[[int], None]) -> list[T]:
        """Return the results in order; `progress` regularly gets new completions, and may raise.

        Raises the first error of any coroutine, or of `progress`, which stops all.
        """
        future, reported = loop.run(self._run_all()), 0
        while True:
            wait([future], self.timeouts.poll)
            has_ended, done = future.done(), self._done
            if has_ended:
                results = future.result()
            try:
                progress(done - reported)
            except BaseException:
                future.cancel()
                self._ended.wait()
                raise
            if has_ended:
                return results
            reported = done

    async def _run_all(self) -> list[T]:
        tasks: list[asyncio.Task[T]] = []
        try:
            for work in self.work:
                tasks.append(asyncio.create_task(work))
                tasks[-1].add_done_callback(self._count)
                await asyncio.sleep(0)  # its first calls are sent before the next one's prompts are made
            if tasks:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in tasks:
                if task.done():
                    task.result()
            return [task.result() for task in tasks]
        except BaseException as error:
            self.stop(error)
            if tasks:
                await asyncio.wait(tasks, timeout=self.timeouts.pause if isinstance(error, JobPausedError) else self.timeouts.stop)
            raise
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._ended.set()

    def _count(self, _task: asyncio.Task[T]) -> None:
        self._done += 1
