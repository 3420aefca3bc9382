"""How a worker process comes to its chunks: a bell brings it, and when none rings for long it looks by itself."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from interp import logs
from interp.errors import DiskFull
from interp.lifecycle import Queue
from workers.dispatch import ring
from workers.helpers import Helpers
from workers.run import run_chunk
from workers.runtime import Runtime

log = logs.get_logger(__name__)

# The database was away, and the worker looks whether it is back.
AGAIN_SECONDS = 2.0
# How often who waits for its turn asks whether the process stops.
TURN_SECONDS = 0.2


class Looks:
    """The process's way to its next chunk, one at a time: by `answer` from the thread that hears bells, and by itself every `idle_seconds`.

    A broker may be away, be emptied, or have a consumer that hears nothing any more after a restart: the database knows what is ready.
    """

    def __init__(self, runtime: Runtime, queue: Queue, helpers: Helpers) -> None:
        self._runtime, self._queue, self._helpers = runtime, queue, helpers
        self._turn = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="looks", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        """Waits until the chunk in work is handed back; the runtime is stopping."""
        self._thread.join()

    def answer(self, bell: str | None) -> bool:
        """Works on whatever is ready: an idle worker needs one bell, not one a chunk. False when the database could not be used."""
        with self._my_turn() as is_mine:
            try:
                while is_mine and not self._runtime.stopping.is_set() and run_chunk(self._runtime, self._queue, bell, self._helpers.asking):
                    ring(self._runtime.engine, self._runtime.settings)
                    bell = None
            except (SQLAlchemyError, DiskFull) as error:
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
        pause = self._runtime.settings.idle_seconds
        while not self._runtime.stopping.wait(pause):
            is_well = self._turn.locked() or self.answer(None)
            pause = self._runtime.settings.idle_seconds if is_well else min(AGAIN_SECONDS, self._runtime.settings.idle_seconds)
