"""Run the embedded service's workers as child processes, and maintenance threads."""

import logging
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import IO

from interp.config.secrets import start_child
from interp.config.settings import Settings
from interp.domain.lifecycle import Queue
from interp.store.db.engine import make_engine
from workers.maintenance.scheduler import MaintenanceThreads, sweep
from workers.runtime import HAND_BACK_SECONDS

log = logging.getLogger(__name__)

WATCH_SECONDS = 0.2
FIRST_BACKOFF, LAST_BACKOFF = 0.5, 30.0
# A worker that ran this long was healthy: its next restart waits no longer than the first.
HEALTHY_SECONDS = 60.0
# Of the stop timeout, for what comes after the workers.
LAST_SECONDS = 2.0


@dataclass
class Child:
    """A worker process, or one that waits for its restart."""

    queue: Queue
    name: str
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    restart_at: float = 0.0
    backoff: float = field(default=FIRST_BACKOFF)


class Supervisor:
    """Supervisor of gpu and llm workers (one per core), and of maintenance threads.

    `start()` and `stop()` are called once each. Children end with this process, even when it is killed: each reads a pipe whose other end is here.
    Chunks of workers that are gone, from this run or an earlier one, return to the queue at once.
    """

    def __init__(self, settings: Settings, log_to: IO[bytes] | None = None) -> None:
        self._settings, self._log_to = settings, log_to
        self._engine = make_engine(settings.database_url)
        llm_workers = settings.llm_workers if settings.llm_workers is not None else max(1, os.cpu_count() or 1)
        self._children = [Child(Queue.GPU, f"gpu-{number}") for number in range(settings.gpu_workers)]
        self._children += [Child(Queue.LLM, f"llm-{number}") for number in range(llm_workers)]
        self._maintenance = MaintenanceThreads(self._engine, settings)
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def start(self) -> None:
        """Revoke leases that an earlier run left, then start the workers."""
        sweep(self._engine, self._settings)
        for child in self._children:
            self._spawn(child)
        self._maintenance.start()
        self._watcher.start()

    def stop(self) -> None:
        """Let workers return their chunks within `stop_timeout_seconds` in all, then kill the rest."""
        self._stopping.set()
        self._watcher.join()
        running = [child.process for child in self._children if child.process is not None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + kill_after(self._settings.stop_timeout_seconds)
        maintenance = threading.Thread(target=self._maintenance.stop, daemon=True)
        maintenance.start()
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        maintenance.join(max(0.0, deadline - time.monotonic()))
        sweep(self._engine, self._settings)
        self._engine.dispose()

    def pids(self) -> dict[str, int]:
        """Return the process ids of the running workers, by name."""
        return {child.name: child.process.pid for child in self._children if child.process is not None and child.process.poll() is None}

    def _spawn(self, child: Child) -> None:
        environment = self._settings.model_copy(update={"stop_timeout_seconds": share_of(self._settings.stop_timeout_seconds)}).environment()
        if child.queue is Queue.LLM:
            # Several of them share the cores: numpy's own threads would compete.
            environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "workers.process", child.queue.value, "--name", child.name, "--supervised"]
        # A process group of its own: Ctrl-C in the terminal is for this process, which then stops the workers in order.
        child.process = start_child(
            command,
            environment,
            self._settings.secret_environment(),
            stdin=subprocess.PIPE,
            stdout=self._log_to,
            stderr=self._log_to,
            process_group=0,
        )
        child.started = time.monotonic()

    def _watch(self) -> None:
        while not self._stopping.wait(WATCH_SECONDS):
            for child in self._children:
                self._check(child)

    def _check(self, child: Child) -> None:
        if child.process is None:
            if time.monotonic() >= child.restart_at:
                self._spawn(child)
            return
        status = child.process.poll()
        if status is None:
            return
        self._maintenance.sweep_now()
        if time.monotonic() - child.started > HEALTHY_SECONDS:
            child.backoff = FIRST_BACKOFF
        log.warning("worker %s ended with status %d; it starts again in %.1f s", child.name, status, child.backoff)
        child.process, child.restart_at = None, time.monotonic() + child.backoff
        child.backoff = min(2 * child.backoff, LAST_BACKOFF)


def kill_after(stop_timeout_seconds: float) -> float:
    """Return the seconds after which workers are killed.

    The rest is for requeueing and the server's end.
    """
    return stop_timeout_seconds - min(LAST_SECONDS, stop_timeout_seconds / 5)


def share_of(stop_timeout_seconds: float) -> float:
    """Return a worker's share of the stop timeout, for returning its chunks."""
    return max(kill_after(stop_timeout_seconds) - HAND_BACK_SECONDS - 1.0, stop_timeout_seconds / 2)
