"""Holding a lease while working: a thread that renews it, and the check between batches that stops work when it is gone."""

import logging
import threading
import time
from types import TracebackType
from typing import Self

from sqlalchemy.exc import DBAPIError

from interp.errors import DiskFull, Interrupted, LeaseLost
from interp.store import chunks
from interp.store.chunks import Lease
from interp.store.engine import transaction
from workers.runtime import Runtime

log = logging.getLogger(__name__)


class Hold:
    """A context manager: heartbeats go out as long as it is open.

    `progress(units)` is what tasks call between batches. It raises LeaseLost when the chunk is somebody else's or its job was cancelled
    (seen at the latest one heartbeat later, within `progress_seconds` while there is progress), and Interrupted when this process stops.
    """

    def __init__(self, runtime: Runtime, lease: Lease) -> None:
        self._runtime, self._lease = runtime, lease
        self._units = self._written = 0
        self._closed, self._lost = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"heartbeat-{lease.chunk_id[:8]}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closed.set()
        self._thread.join()

    def progress(self, units: int) -> None:
        """So many units of the chunk are done. Raises LeaseLost or Interrupted."""
        self._units = units
        if self._lost.is_set():
            raise LeaseLost(f"chunk {self._lease.chunk_id} is no longer ours, or its job has ended")
        if self._runtime.stopping.is_set():
            raise Interrupted("the worker stops")

    def _beat(self) -> None:
        settings = self._runtime.settings
        renewed = time.monotonic()
        while not self._closed.wait(settings.progress_seconds):
            silent = time.monotonic() - renewed
            if self._units == self._written and silent < settings.heartbeat_seconds:
                continue
            begun = time.monotonic()
            try:
                held = self._renew()
                renewed = begun
            except (DBAPIError, DiskFull) as error:
                log.warning("no heartbeat for chunk %s: %s", self._lease.chunk_id, error)
                held = silent < settings.lease_seconds
            if not held:
                self._lost.set()
                return

    def _renew(self) -> bool:
        units = self._units
        with transaction(self._runtime.engine) as session:
            held = chunks.heartbeat(session, self._lease, self._runtime.settings.lease_seconds, units)
        self._written = units
        return held
