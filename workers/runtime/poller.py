"""How a worker process comes to its chunks: a bell brings it, and when none rings for long, or none can be heard, it looks by itself."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from interp.domain.errors import DiskFullError
from interp.domain.lifecycle import Queue
from interp.observability import logs
from workers.runtime.context import Runtime
from workers.runtime.helper_threads import HelperThreads
from workers.tasks.execute import run_chunk
from workers.wakeup import notify

log = logs.get_logger(__name__)

# The database was away, and the worker looks whether it is back.
AGAIN_SECONDS = 2.0
# How often who waits for its turn asks whether the process stops.
TURN_SECONDS = 0.2
# Celery takes no message while it answers one, and then needs up to a second to see that it does not any more.
DEAF_SECONDS, DEAF_LOOK_SECONDS = 1.5, 0.2


class Poller:
    """The process's way to its next chunk, one at a time: by `answer` from the thread that hears bells, and by itself every `poll_interval_seconds`.

    A broker may be away, be emptied, or have a consumer that hears nothing any more after a restart: the database knows what is ready. Right after
    a bell was answered the next one is not heard, and the process looks often.
    """

    def __init__(self, runtime: Runtime, queue: Queue, helpers: HelperThreads) -> None:
        self._runtime, self._queue, self._helpers = runtime, queue, helpers
        self._turn = threading.Lock()
        self._answered = threading.Event()
        self._thread = threading.Thread(target=self._run, name="looks", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        """Waits until the chunk in work is handed back; the runtime is stopping."""
        self._answered.set()
        self._thread.join()

    def answer(self, bell: str) -> None:
        """Works on whatever is ready: an idle worker needs one bell, not one a chunk."""
        self._work(bell)
        self._answered.set()

    def _work(self, bell: str | None) -> bool:
        """False when the database could not be used."""
        with self._my_turn() as is_mine:
            try:
                while is_mine and not self._runtime.stopping.is_set() and run_chunk(self._runtime, self._queue, bell, self._helpers.asking):
                    notify(self._runtime.engine, self._runtime.settings)
                    bell = None
            except (SQLAlchemyError, DiskFullError) as error:
                log.error("this worker cannot work just now, it looks again later", why=str(error))
                return False
            except Exception:  # a worker that nothing brings to look any more would be alive and deaf
                log.exception("this worker met what nobody thought of, it looks again later")
                return False
        return True

    @contextmanager
    def _my_turn(self) -> Iterator[bool]:
        """Whether this thread may work: waits for the other one, which may have seen a moment ago that nothing is ready."""
        is_mine = False
        while not is_mine and not self._runtime.stopping.is_set():
            is_mine = self._turn.acquire(timeout=TURN_SECONDS)
        try:
            yield is_mine
        finally:
            if is_mine:
                self._turn.release()

    def _run(self) -> None:
        idle = pause = self._runtime.settings.poll_interval_seconds
        deaf_until = 0.0
        while not self._runtime.stopping.is_set():
            if self._answered.wait(pause):
                self._answered.clear()
                deaf_until = time.monotonic() + DEAF_SECONDS
                is_well = True
            else:
                is_well = self._turn.locked() or self._work(None)
            soon = DEAF_LOOK_SECONDS if time.monotonic() < deaf_until else idle
            pause = min(idle, soon if is_well else AGAIN_SECONDS)
