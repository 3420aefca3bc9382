"""Renew the leases of a worker process in a thread."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from interp.config.settings import Settings
from interp.domain.errors import DiskFullError, LeaseLostError, WorkInterruptedError
from interp.observability import logs
from interp.store.db.engine import Engine, SQLAlchemyError, snapshot, transaction
from interp.store.queue import chunks, workers
from interp.store.queue.chunks import Lease
from interp.store.queue.workers import WorkerInfo

log = logs.get_logger(__name__)


class HeldLease:
    """A lease in use: its progress, last renewal, and whether it is lost."""

    def __init__(self, lease: Lease, lease_seconds: float, stopping: threading.Event) -> None:
        self.lease = lease
        self.units = self.units_written = 0
        self.renewed_at = time.monotonic()
        self.lost = threading.Event()
        self._lease_seconds, self._stopping = lease_seconds, stopping

    def age(self) -> float:
        """Return the seconds since the last renewal began, including process suspension."""
        return time.monotonic() - self.renewed_at

    def is_kept(self) -> bool:
        """Return whether the worker still has the chunk, by time even after a suspension."""
        return not self.lost.is_set() and self.age() <= self._lease_seconds

    def progress(self, units: int) -> None:
        """Record that `units` of the chunk are done.

        Raises LeaseLostError for a chunk that another worker has or whose job no longer runs (noticed within `lease_check_interval_seconds`), or
        whose lease was not renewed in time; WorkInterruptedError where this process stops.
        """
        self.units = units
        if self.lost.is_set():
            raise LeaseLostError(f"chunk {self.lease.chunk_id} is no longer ours, or its job is not to be worked on")
        if self.age() > self._lease_seconds:
            raise LeaseLostError(f"chunk {self.lease.chunk_id} could not be kept: its lease was not renewed in time")
        if self._stopping.is_set():
            raise WorkInterruptedError("the worker stops")


class LeaseRenewer:
    """A thread that renews a process's leases and its entry in the workers' list.

    Every `lease_check_interval_seconds` one query finds the leases that are lost: taken by another worker, or of a job that no longer runs. Leases
    are renewed every `heartbeat_interval_seconds`, or after `progress_interval_seconds` where there is progress. While the database is unreachable, a
    lease is lost only after its whole time. The thread runs while there is a lease, or from `register` to `unregister`.
    """

    def __init__(self, engine: Engine, settings: Settings, owner: str, info: WorkerInfo, stopping: threading.Event) -> None:
        self._engine, self._settings, self._owner, self._info, self._stopping = engine, settings, owner, info, stopping
        self._changed = threading.Condition()
        self._held: list[HeldLease] = []
        self._thread: threading.Thread | None = None
        # Held while the list of workers is written: the removal of this worker must come last.
        self._registering = threading.Lock()
        self._is_registered = False
        self._registered_at = float("-inf")
        self._is_away = False
        self._last_pass = time.monotonic()

    def register(self) -> None:
        """Keep the process in the list of workers from now on."""
        with self._changed:
            self._is_registered = True
            self._ensure_thread()

    def unregister(self) -> None:
        """Remove the process from the workers' list; concurrent calls wait for the first."""
        with self._registering:
            with self._changed:
                was_registered, self._is_registered, self._registered_at = self._is_registered, False, float("-inf")
                self._changed.notify()
            if not was_registered:
                return
            try:
                with transaction(self._engine) as session:
                    workers.gone(session, self._owner)
            except (SQLAlchemyError, DiskFullError) as error:
                log.warning("this worker stays in the list of workers for a while", why=str(error))

    @contextmanager
    def hold(self, lease: Lease) -> Iterator[HeldLease]:
        """Renew the lease for as long as the block lasts."""
        held = HeldLease(lease, self._settings.lease_seconds, self._stopping)
        with self._changed:
            self._held.append(held)
            self._ensure_thread()
        try:
            yield held
        finally:
            with self._changed:
                self._held.remove(held)
                self._changed.notify()

    @property
    def all(self) -> list[Lease]:
        with self._changed:
            return [held.lease for held in self._held]

    def silent_seconds(self) -> float:
        """Return the seconds since the thread's last pass: above `lease_seconds` means stuck."""
        return time.monotonic() - self._last_pass

    def _ensure_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="leases", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not (self._held or self._is_registered), self._settings.lease_check_interval_seconds)
                if not (self._held or self._is_registered):
                    self._thread = None
                    return
                held = [each for each in self._held if not each.lost.is_set()]
            self._last_pass = time.monotonic()
            try:
                self._write_registration()
                self._renew(held)
                self._is_away = False
            except (SQLAlchemyError, DiskFullError) as error:
                if not self._is_away:
                    log.warning("no heartbeat: the database cannot be used", why=str(error))
                self._is_away = True
                for each in held:
                    if each.age() > self._settings.lease_seconds:
                        each.lost.set()

    def _write_registration(self) -> None:
        with self._registering:
            began = time.monotonic()
            if self._is_registered and began - self._registered_at >= self._settings.heartbeat_interval_seconds:
                with transaction(self._engine) as session:
                    workers.seen(session, self._owner, self._info)
                self._registered_at = began

    def _renew(self, held: Sequence[HeldLease]) -> None:
        due = [each for each in held if self._is_due(each)]
        rest = [each for each in held if each not in due]
        kept: set[str] = set()
        if due:
            began, units = time.monotonic(), [each.units for each in due]
            with transaction(self._engine) as session:
                kept |= chunks.renew(session, [(each.lease, done) for each, done in zip(due, units, strict=True)], self._settings.lease_seconds)
            for each, done in zip(due, units, strict=True):
                each.renewed_at, each.units_written = began, done
        if rest:
            with snapshot(self._engine) as session:
                kept |= chunks.wanted(session, [each.lease for each in rest])
        for each in held:
            if each.lease.token not in kept:
                each.lost.set()

    def _is_due(self, held: HeldLease) -> bool:
        has_progress = held.units != held.units_written and held.age() >= self._settings.progress_interval_seconds
        return has_progress or held.age() >= self._settings.heartbeat_interval_seconds
