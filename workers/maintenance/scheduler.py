"""Upkeep: takes back what dead workers held, rings again for what nobody took, delivers webhooks, clears away what ended jobs left.

Each of these is a duty with a thread of its own, so that a receiver or a store that does not answer never keeps a lease from being taken back.
Any number of processes may do them at once.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from interp.config.settings import Settings
from interp.domain.errors import GlossatorError
from interp.store.db.engine import Engine, SQLAlchemyError
from interp.store.queue import completion
from workers.machine import is_gone
from workers.maintenance.cleanup import prune, tidy
from workers.maintenance.webhooks import deliver_due
from workers.wakeup import notify

log = logging.getLogger(__name__)

# A listing of the artifact store is dear where that is a bucket.
SWEEPS_A_TIDYING = 5
PRUNE_SECONDS = 3600.0


def sweep(engine: Engine, settings: Settings) -> int:
    """One round; returns how many leases were taken back."""
    taken = completion.sweep(engine, is_gone, settings.max_lost_leases)
    completion.close_orphans(engine)
    notify(engine, settings)
    return taken


@dataclass(frozen=True, slots=True)
class PeriodicTask:
    """What is done over and over: `work`, and so many seconds later again."""

    name: str
    work: Callable[[Engine, Settings], object]
    seconds: Callable[[Settings], float]


SWEEPING = PeriodicTask("sweeper", sweep, lambda settings: settings.sweep_interval_seconds)
DUTIES = (
    SWEEPING,
    PeriodicTask("webhooks", deliver_due, lambda settings: settings.sweep_interval_seconds),
    PeriodicTask("tidying", tidy, lambda settings: SWEEPS_A_TIDYING * settings.sweep_interval_seconds),
    PeriodicTask("retention", prune, lambda _settings: PRUNE_SECONDS),
)


class MaintenanceThreads:
    """All duties, a thread each, until `stop`. `wake` sweeps at once."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._rounds = {duty: PeriodicThread(duty, engine, settings) for duty in DUTIES}
        self._stop_seconds = settings.stop_timeout_seconds

    def start(self) -> None:
        for each in self._rounds.values():
            each.start()

    def wake(self) -> None:
        """A worker has died: look now."""
        self._rounds[SWEEPING].wake()

    def stop(self) -> None:
        """Lets each duty come to the end of its round, for `stop_timeout_seconds` at most: all that they do may be broken off anywhere."""
        deadline = time.monotonic() + self._stop_seconds
        for each in self._rounds.values():
            each.ask_to_stop()
        for each in self._rounds.values():
            each.join(max(0.0, deadline - time.monotonic()))


class PeriodicThread:
    """A thread that does one duty over and over. No error ends it: a database that is away comes back, and leases must be taken back then."""

    def __init__(self, duty: PeriodicTask, engine: Engine, settings: Settings) -> None:
        self._duty, self._engine, self._settings = duty, engine, settings
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._is_failing = False
        self._thread = threading.Thread(target=self._run, name=duty.name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        self._wake.set()

    def ask_to_stop(self) -> None:
        self._stopping.set()
        self._wake.set()

    def join(self, seconds: float) -> None:
        self._thread.join(seconds)

    def _run(self) -> None:
        seconds = self._duty.seconds(self._settings)
        while not self._stopping.is_set():
            self._wake.clear()
            self._once()
            self._wake.wait(seconds)

    def _once(self) -> None:
        """One round. Of errors that go on, the first is told of, and their end."""
        try:
            self._duty.work(self._engine, self._settings)
        except Exception as error:  # whatever it is, the next round may go well
            if not self._is_failing:
                foreseen = isinstance(error, SQLAlchemyError | GlossatorError | OSError)
                log.warning("%s failed, tried again until it goes well: %s", self._duty.name, error, exc_info=not foreseen)
            self._is_failing = True
        else:
            if self._is_failing:
                log.info("%s goes well again", self._duty.name)
            self._is_failing = False
