"""Holding a lease while working: the check between batches that stops work when it is gone."""

from types import TracebackType
from typing import Self

from interp.domain.errors import LeaseLostError, WorkInterruptedError
from interp.store.queue.chunks import Lease
from workers.runtime.context import Runtime


class LeaseGuard:
    """A context manager: the process's thread renews the lease as long as it is open (`workers.runtime.lease_renewer`).

    `progress(units)` is what tasks call between batches. It raises LeaseLost when the chunk is somebody else's or its job is no longer to
    be worked on (seen `lease_check_interval_seconds` later), or when this process could not renew the lease for all its time, as one that stood
    still; and Interrupted when this process stops.
    """

    def __init__(self, runtime: Runtime, lease: Lease) -> None:
        self._runtime, self._lease = runtime, lease
        self._held = runtime.leases.take(lease)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._runtime.leases.let_go(self._held)

    def is_kept(self) -> bool:
        """Whether the chunk is still this worker's to work on, as far as it knows: false at once for a process that stood still past its lease."""
        return not self._held.lost.is_set() and self._held.silent() <= self._runtime.settings.lease_seconds

    def progress(self, units: int) -> None:
        """So many units of the chunk are done. Raises LeaseLost or Interrupted."""
        self._held.units = units
        if self._held.lost.is_set():
            raise LeaseLostError(f"chunk {self._lease.chunk_id} is no longer ours, or its job is not to be worked on")
        if self._held.silent() > self._runtime.settings.lease_seconds:
            raise LeaseLostError(f"chunk {self._lease.chunk_id} could not be kept: its lease was not renewed in time")
        if self._runtime.stopping.is_set():
            raise WorkInterruptedError("the worker stops")
