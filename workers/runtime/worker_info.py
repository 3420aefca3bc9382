"""What a worker process tells of itself: written to the database with its heartbeats, read by planning, `/metrics` and `glossator doctor`."""

import threading
from dataclasses import dataclass, replace
from typing import Any

from interp.domain.lifecycle import Queue


@dataclass(frozen=True, slots=True)
class Report:
    """`memory_bytes`: what collection may use here. `loaded_models`: the `models_key` of each pair of models that is open."""

    queue: Queue
    name: str
    device: str | None = None
    memory_bytes: int | None = None
    loaded_models: tuple[str, ...] = ()


class WorkerInfo:
    """The process's report, kept up to date by its tasks and read by the thread that sends it. For any thread."""

    def __init__(self, report: Report) -> None:
        self._report, self._lock = report, threading.Lock()

    @property
    def report(self) -> Report:
        return self._report

    def update(self, **changes: Any) -> None:
        """Some fields of the report have changed."""
        with self._lock:
            self._report = replace(self._report, **changes)
