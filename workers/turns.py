"""Turns of a gpu worker's models: chunks give way to live requests."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# The longest that a chunk waits between two batches: its work goes on under any number of live requests.
GIVE_WAY_SECONDS = 0.5
LOOK_SECONDS = 0.1


class Turns:
    """Turns of the thread of chunks and the thread of live requests.

    A live request runs beside the batch in work, and the next batch waits for it. Models whose passes disturb one another are read `alone`: between
    two batches.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._live = self._alone = 0
        self._is_reading = False

    @contextmanager
    def chunk(self) -> Iterator[None]:
        """Read models for a chunk, which calls `give_way` between its batches."""
        self._begin_reading()
        try:
            yield
        finally:
            with self._changed:
                self._is_reading = False
                self._changed.notify_all()

    def give_way(self) -> None:
        """Wait, between two batches, for the live request in work, up to `GIVE_WAY_SECONDS`."""
        with self._changed:
            if not self._live:
                return
            self._is_reading = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._live, GIVE_WAY_SECONDS)
        self._begin_reading()

    @contextmanager
    def live(self) -> Iterator[None]:
        """Answer a live request, for which chunks give way."""
        with self._changed:
            self._live += 1
        try:
            yield
        finally:
            with self._changed:
                self._live -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self, between: Callable[[], object]) -> Iterator[None]:
        """Read models while no chunk does; `between` is called while one does, and may raise."""
        while True:
            between()
            with self._changed:
                if self._changed.wait_for(lambda: not self._is_reading, LOOK_SECONDS):
                    self._alone += 1
                    break
        try:
            yield
        finally:
            with self._changed:
                self._alone -= 1
                self._changed.notify_all()

    def _begin_reading(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._alone)
            self._is_reading = True
