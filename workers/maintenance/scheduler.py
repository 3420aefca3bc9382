"""Run maintenance: revoke dead leases, repeat notifications, deliver webhooks, make exports, delete old data.

Each task has its own thread, so that an unresponsive receiver or store never delays the recovery of a lease. Any number of processes may run them at
once.
"""

import logging
import threading
import time
from collections.abc import Callable
from functools import partial

from interp.config.settings import Settings
from interp.domain.errors import GlossatorError
from interp.store.db.engine import Engine, SQLAlchemyError
from interp.store.queue import completion
from workers.exports import make_due
from workers.machine import is_gone
from workers.maintenance.cleanup import clean_up, prune
from workers.maintenance.webhooks import deliver_due
from workers.wakeup import notify

log = logging.getLogger(__name__)

# A listing of the artifact store is expensive where that is a bucket.
SWEEPS_PER_CLEANUP = 5
PRUNE_SECONDS = 3600.0
# A person waits for an export.
EXPORT_SECONDS = 2.0


def sweep(engine: Engine, settings: Settings) -> int:
    """Revoke expired leases, notify workers, and return how many leases."""
    taken = completion.sweep(engine, is_gone, settings.max_lost_leases)
    completion.close_orphans(engine)
    notify(engine, settings)
    return taken


class MaintenanceThreads:
    """All tasks, in a thread each, from `start` to `stop`."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        often = settings.sweep_interval_seconds
        self._stopping = threading.Event()
        self._sweeper = PeriodicThread("sweeper", partial(sweep, engine, settings), often)
        self._threads = (
            self._sweeper,
            PeriodicThread("webhooks", partial(deliver_due, engine, settings), often),
            PeriodicThread("exports", partial(make_due, engine, settings, self._stopping.is_set), EXPORT_SECONDS),
            PeriodicThread("cleanup", partial(clean_up, engine, settings), SWEEPS_PER_CLEANUP * often),
            PeriodicThread("retention", partial(prune, engine, settings), PRUNE_SECONDS),
        )
        self._stop_seconds = settings.stop_timeout_seconds

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def sweep_now(self) -> None:
        """Sweep at once, since a worker has died."""
        self._sweeper.wake.set()

    def stop(self) -> None:
        """Wait for each task's current step, up to `stop_timeout_seconds`; steps may be interrupted."""
        deadline = time.monotonic() + self._stop_seconds
        self._stopping.set()
        for thread in self._threads:
            thread.ask_to_stop()
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))


class PeriodicThread(threading.Thread):
    """A thread that repeats a task `seconds` after its end, whatever errors it raises."""

    def __init__(self, name: str, work: Callable[[], object], seconds: float) -> None:
        super().__init__(name=name, daemon=True)
        self._work, self._seconds = work, seconds
        self.wake, self._stopping = threading.Event(), threading.Event()
        self._is_failing = False

    def ask_to_stop(self) -> None:
        self._stopping.set()
        self.wake.set()

    def run(self) -> None:
        while not self._stopping.is_set():
            self.wake.clear()
            self._run_once()
            self.wake.wait(self._seconds)

    def _run_once(self) -> None:
        """Run the task once; of a series of errors, log the first and the end."""
        try:
            self._work()
        except Exception as error:  # whatever it is, the next run may succeed
            if not self._is_failing:
                is_expected = isinstance(error, SQLAlchemyError | GlossatorError | OSError)
                log.warning("%s failed, tried again until it goes well: %s", self.name, error, exc_info=not is_expected)
            self._is_failing = True
        else:
            if self._is_failing:
                log.info("%s goes well again", self.name)
            self._is_failing = False
