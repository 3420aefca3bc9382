"""One look for all who ask the same at once."""

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


@dataclass(slots=True, eq=False)
class Flight(Generic[Answer]):
    """A look that is waited for, and what came of it."""

    done: threading.Event = field(default_factory=threading.Event)
    answer: Answer | None = None
    error: BaseException | None = None


class Flights(Generic[Answer]):
    """Who asks while a look is under way waits for the next one, together with all who come meanwhile: so an answer is never older than its question.

    A thousand clients that poll one job cost the database two looks at a time, and nothing is kept once nobody waits.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[Hashable, Flight[Answer]] = {}
        self._waiting: dict[Hashable, Flight[Answer]] = {}

    def ask(self, key: Hashable, look: Callable[[], Answer]) -> Answer:
        """What `look` gives, ours or that of another one who asked for `key`. Raises what it raised."""
        with self._lock:
            joined = self._waiting.get(key)
            flight = joined or self._waiting.setdefault(key, Flight())
            before = self._under_way.get(key)
        if joined is None:
            self._fly(key, flight, before, look)
        flight.done.wait()
        if flight.error is not None:
            raise flight.error
        return flight.answer  # type: ignore[return-value]  # it is done, and without an error

    def _fly(self, key: Hashable, flight: Flight[Answer], before: Flight[Answer] | None, look: Callable[[], Answer]) -> None:
        if before is not None:
            before.done.wait()
        with self._lock:
            self._under_way[key] = self._waiting.pop(key)
        try:
            flight.answer = look()
        except BaseException as error:
            flight.error = error
        finally:
            with self._lock:
                del self._under_way[key]
            flight.done.set()
