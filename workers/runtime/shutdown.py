"""The end of a worker process within a stated time, whatever its tasks do."""

import os
import threading

from sqlalchemy.exc import SQLAlchemyError

from interp.domain.errors import DiskFullError, LeaseLostError
from interp.observability import logs
from interp.store.db.engine import transaction
from interp.store.queue import completion
from workers.runtime.context import Runtime

log = logs.get_logger(__name__)

# What handing back may take when the tasks did not: a database that is away is not waited for.
LAST_SECONDS = 5.0


class GracefulShutdown:
    """Once `begin` was called, the process ends within `stop_timeout_seconds` and LAST_SECONDS. Tasks hand back their chunks between two batches or
    calls; for those that do not come to one, this does, and ends the process under them."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._begun = threading.Lock()

    def begin(self) -> None:
        """The process is to stop. Calling it again changes nothing."""
        self._runtime.stopping.set()
        if self._begun.acquire(blocking=False):
            timer = threading.Timer(self._runtime.settings.stop_timeout_seconds, self._hand_back_and_exit)
            timer.daemon = True  # a process that ends by itself waits for nobody
            timer.start()

    def _hand_back_and_exit(self) -> None:
        log.warning("work goes on past the time to stop: its chunks are handed back and the process ends", chunks=len(self._runtime.leases.all))
        last = threading.Thread(target=self._hand_back, daemon=True)
        last.start()
        last.join(LAST_SECONDS)
        os._exit(0)

    def _hand_back(self) -> None:
        for lease in self._runtime.leases.all:
            try:
                with transaction(self._runtime.engine) as session:
                    completion.hand_back(session, lease)
            except (LeaseLostError, SQLAlchemyError, DiskFullError) as error:
                log.warning("a chunk could not be handed back", chunk=lease.chunk_id, why=str(error))
        self._runtime.leases.end()
