"""Run a worker process: a Celery worker of one queue, or `upkeep`'s maintenance.

Started by `python -m workers.process gpu` or `glossator worker gpu`. Celery brings wake-up notifications (`workers/wakeup.py`); `workers/worker.py`
runs chunks. Celery's pool is one thread: a fork after CUDA has started fails, and the solo pool takes no signal while it works.
"""

import argparse
import importlib
import os
import signal
import sys
import threading
import warnings
from pathlib import Path

from celery import signals
from celery.platforms import SecurityWarning

from interp.config.settings import settings
from interp.domain.cleaning import one_line
from interp.domain.errors import GlossatorError
from interp.domain.lifecycle import Queue
from interp.observability import logs, traces
from workers.health import HealthServer
from workers.live import LiveLane
from workers.llm.event_loop import close_clients
from workers.machine import memory_limit
from workers.maintenance.scheduler import MaintenanceThreads
from workers.runtime import HAND_BACK_SECONDS, Runtime
from workers.wakeup import TASK, make_app
from workers.worker import Worker, stop

log = logs.get_logger(__name__)

GPU_DRIVER = Path("/dev/nvidiactl")


def main(queue: Queue, name: str | None = None) -> None:
    """Run until SIGTERM or SIGINT, then return the chunk within `stop_timeout_seconds`."""
    found, name = settings(), name or queue.value
    logs.configure(found, name)
    # Celery would set up a second log.
    signals.setup_logging.connect(_leave_the_log_alone)
    traces.configure(found, queue.value, name)
    # Celery warns root of pickled messages; ours are JSON, with a chunk id alone.
    warnings.simplefilter("ignore", SecurityWarning)
    runtime = Runtime.of(found, queue, name)
    health = HealthServer(runtime.leases.silent_seconds, found, name)
    runtime.leases.register()
    try:
        if queue is Queue.UPKEEP:
            _run_maintenance(runtime)
        else:
            _run_worker(runtime, queue)
    finally:
        runtime.leases.unregister()
        health.close()


def report_hardware(runtime: Runtime) -> None:
    """Report a gpu worker's memory before its first chunk, since planning needs the smallest.

    torch is imported only where there is a GPU, and in parallel, since that takes seconds.
    """
    if GPU_DRIVER.exists():
        model_cache = "workers.tasks.model_cache"
        threading.Thread(target=lambda: importlib.import_module(model_cache).report_device(runtime), name="report-device", daemon=True).start()
    else:
        runtime.info.device, runtime.info.memory_bytes = "cpu", runtime.settings.gpu_worker_memory_bytes or memory_limit()


def _leave_the_log_alone(**_details: object) -> None:
    """Do nothing: Celery sets up no log where this signal has a receiver."""


def _run_maintenance(runtime: Runtime) -> None:
    """Run maintenance in its own process, when workers are no supervisor's children."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop(runtime))
    maintenance = MaintenanceThreads(runtime.engine, runtime.settings)
    maintenance.start()
    log.info("sweeping", every_seconds=runtime.settings.sweep_interval_seconds)
    runtime.stopping.wait()
    maintenance.stop()


def _run_worker(runtime: Runtime, queue: Queue) -> None:
    app = make_app(runtime.settings)
    worker = Worker(runtime, queue)

    @app.task(name=TASK)  # type: ignore[untyped-decorator]
    def notified(chunk_id: str) -> None:
        worker.notified(chunk_id)

    def on_shutdown(**_details: object) -> None:
        stop(runtime)

    def on_early_signal(*_: object) -> None:
        stop(runtime)
        raise SystemExit(0)

    # Until Celery has started and has handlers of its own: a chunk may be in work by then.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_early_signal)
    signals.worker_shutting_down.connect(on_shutdown)
    lane = LiveLane(runtime) if queue is Queue.GPU and runtime.settings.live_models else None
    if queue is Queue.GPU:
        report_hardware(runtime)
    # Before the connection to the broker, which may be unreachable for long.
    worker.start()
    if lane is not None:
        lane.start()
    name = f"{runtime.info.name}-{os.getpid()}@%h"
    options = ["--pool=threads", "--concurrency=1", f"--queues={queue.value}", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    try:
        app.worker_main(["--quiet", "worker", *options, "--loglevel=warning", f"--hostname={name}"])
    finally:
        stop(runtime)
        worker.join()
        if lane is not None:
            lane.join(HAND_BACK_SECONDS)
        close_clients()


def _end_with_parent() -> None:
    """End this process when the supervisor closes standard input, even when it is killed."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("queue", type=Queue, choices=list(Queue))
    parser.add_argument("--name")
    parser.add_argument("--supervised", action="store_true", help="end when standard input ends")
    arguments = parser.parse_args()
    if arguments.supervised:
        _end_with_parent()
    try:
        main(arguments.queue, arguments.name)
    except GlossatorError as error:
        sys.stderr.write(f"error: {one_line(str(error))}\n")
        raise SystemExit(error.exit_status) from None
