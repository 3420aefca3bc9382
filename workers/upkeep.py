"""The sweeper: takes back what dead workers held, rings again for what nobody took, and clears away what ended jobs left."""

import logging
import shutil
import threading

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from interp.errors import DiskFull
from interp.lifecycle import Stage
from interp.settings import Settings
from interp.store import jobs, queue
from interp.store.engine import snapshot
from workers.artifacts import partial_folders
from workers.dispatch import ring
from workers.owner import is_gone

log = logging.getLogger(__name__)


def sweep(engine: Engine, settings: Settings) -> int:
    """One round; returns how many leases were taken back. Any number of sweepers may run at once."""
    taken = queue.sweep(engine, is_gone, settings.max_losses)
    queue.close_orphans(engine)
    ring(engine, settings)
    return taken


def clear_partials(engine: Engine, settings: Settings) -> int:
    """Removes the partial evidence of jobs that will not merge any more; returns of how many jobs."""
    cleared = 0
    for job_id, folder in partial_folders(settings):
        with snapshot(engine) as session:
            needed = jobs.needs_stage(session, job_id, Stage.MERGE)
        if not needed:
            shutil.rmtree(folder, ignore_errors=True)
            cleared += 1
    return cleared


class Sweeper:
    """A thread that sweeps every `sweep_seconds`, and at once when `wake` is called."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine, self._settings = engine, settings
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Sweep now: a worker has died."""
        self._wake.set()

    def stop(self) -> None:
        self._stopping.set()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                sweep(self._engine, self._settings)
                clear_partials(self._engine, self._settings)
            except (DBAPIError, DiskFull) as error:
                log.warning("sweeping failed, next time again: %s", error)
            self._wake.wait(self._settings.sweep_seconds)
