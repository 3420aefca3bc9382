"""The thread of a process that renews all its leases, looks whether they are still to be worked on, and says that the process lives."""

import threading
import time
from collections.abc import Sequence

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from interp.config.settings import Settings
from interp.domain.errors import DiskFullError
from interp.observability import logs
from interp.store.db.engine import snapshot, transaction
from interp.store.queue import chunks, workers
from interp.store.queue.chunks import Lease
from workers.runtime.health import Heartbeat
from workers.runtime.worker_info import WorkerInfo

log = logs.get_logger(__name__)


class RenewedLease:
    """One lease in work: how far it is, when it was last renewed by this process's own clock that only counts, and whether it is lost."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.units = self.written = 0
        self.renewed = time.monotonic()
        self.lost = threading.Event()

    def silent(self) -> float:
        """Seconds since the last renewal began. Time in which the process stood still counts: others may have the chunk since."""
        return time.monotonic() - self.renewed


class LeaseRenewer:
    """All leases of a process, for any of its threads.

    Every `lease_check_interval_seconds` one statement looks whether they are still this process's and their jobs to be worked on: what is not is
    `lost`. They are renewed every `heartbeat_interval_seconds`, or after `progress_interval_seconds` where there is progress. A database that is
    away loses a lease only when it could not be renewed for its whole time. The thread lives as long as there is a lease, or from `begin` to `end`.
    """

    def __init__(self, engine: Engine, settings: Settings, owner: str, presence: WorkerInfo, pulse: Heartbeat) -> None:
        self._engine, self._settings, self._owner, self._presence, self._pulse = engine, settings, owner, presence, pulse
        self._changed = threading.Condition()
        self._held: list[RenewedLease] = []
        self._thread: threading.Thread | None = None
        # Held while the list of workers is written: its last word is that this one is gone.
        self._showing = threading.Lock()
        self._is_shown = False
        self._shown_at = float("-inf")
        self._is_away = False

    def begin(self) -> None:
        """Shows the process in the database from now on, with or without a lease."""
        with self._changed:
            self._is_shown = True
            self._watch()

    def end(self) -> None:
        """Takes the process out of the database again. Another call meanwhile waits until that is done."""
        with self._showing:
            with self._changed:
                was_shown, self._is_shown, self._shown_at = self._is_shown, False, float("-inf")
                self._changed.notify()
            if was_shown:
                self._take_out()

    def take(self, lease: Lease) -> RenewedLease:
        """Looks after the lease until `let_go`."""
        with self._changed:
            held = RenewedLease(lease)
            self._held.append(held)
            self._watch()
        return held

    def let_go(self, held: RenewedLease) -> None:
        """The chunk has come to its end, whichever."""
        with self._changed:
            self._held.remove(held)
            self._changed.notify()

    @property
    def all(self) -> list[Lease]:
        """The leases in work."""
        with self._changed:
            return [held.lease for held in self._held]

    def _watch(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="leases", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not (self._held or self._is_shown), self._settings.lease_check_interval_seconds)
                if not (self._held or self._is_shown):
                    self._thread = None
                    return
                held = [each for each in self._held if not each.lost.is_set()]
            self._pulse.beat()
            try:
                self._show()
                self._look(held)
                self._is_away = False
            except (SQLAlchemyError, DiskFullError) as error:
                if not self._is_away:
                    log.warning("no heartbeat: the database cannot be used", why=str(error))
                self._is_away = True
                for each in held:
                    if each.silent() > self._settings.lease_seconds:
                        each.lost.set()

    def _show(self) -> None:
        with self._showing:
            if self._is_shown and time.monotonic() - self._shown_at >= self._settings.heartbeat_interval_seconds:
                begun = time.monotonic()
                with transaction(self._engine) as session:
                    workers.seen(session, self._owner, self._presence.report)
                self._shown_at = begun

    def _take_out(self) -> None:
        try:
            with transaction(self._engine) as session:
                workers.gone(session, self._owner)
        except (SQLAlchemyError, DiskFullError) as error:
            log.warning("this worker stays in the list of workers for a while", why=str(error))

    def _look(self, held: Sequence[RenewedLease]) -> None:
        due = [each for each in held if self._is_due(each)]
        rest = [each for each in held if each not in due]
        good: set[str] = set()
        if due:
            begun, told = time.monotonic(), [(each, each.units) for each in due]
            with transaction(self._engine) as session:
                good |= chunks.renew(session, [(each.lease, units) for each, units in told], self._settings.lease_seconds)
            for each, units in told:
                each.renewed, each.written = begun, units
        if rest:
            with snapshot(self._engine) as session:
                good |= chunks.wanted(session, [each.lease for each in rest])
        for each in held:
            if each.lease.token not in good:
                each.lost.set()

    def _is_due(self, held: RenewedLease) -> bool:
        has_news = held.units != held.written and held.silent() >= self._settings.progress_interval_seconds
        return has_news or held.silent() >= self._settings.heartbeat_interval_seconds
