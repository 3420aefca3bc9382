"""More threads for chunks that wait for a language model: while one is on its way through the network, others use the processor."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from interp.domain.errors import DiskFullError

log = logging.getLogger(__name__)

IDLE_SECONDS = 0.5


class HelperThreads:
    """At most `number` threads beside the one that answers bells. They take chunks as long as some chunk of this process asks a model.

    Celery's own pool stays at one thread: with more of them, a process busy with what asks nobody would take bells, and chunks, from idle ones.
    `step` works on the next ready chunk, and says whether there was one.
    """

    def __init__(self, number: int, step: Callable[[], bool], stopping: threading.Event) -> None:
        self._number, self._step, self._stopping = number, step, stopping
        self._lock = threading.Lock()
        self._asking = 0
        self._threads: list[threading.Thread] = []

    @contextmanager
    def asking(self) -> Iterator[None]:
        """A chunk asks a model as long as this is open."""
        with self._lock:
            self._asking += 1
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            missing = 0 if self._stopping.is_set() else self._number - len(self._threads)
            new = [threading.Thread(target=self._help, name=f"helper-{place}") for place in range(missing)]
            self._threads += new
        for thread in new:
            thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._asking -= 1

    def join(self) -> None:
        """Waits until every helper has handed back its chunk; `stopping` is set."""
        for thread in self._threads:
            thread.join()

    def _help(self) -> None:
        while not self._stopping.is_set() and self._asking:
            try:
                if not self._step():
                    self._stopping.wait(IDLE_SECONDS)
            except (SQLAlchemyError, DiskFullError) as error:
                log.error("the database cannot be used, a helper ends: %s", error)
                return
