"""One worker process: a Celery worker of one queue, or the sweeper. `python -m workers.process gpu`, or `glossator worker gpu`.

A threads pool of one: a fork after CUDA has started fails, and the solo pool goes deaf while it works. An llm worker has helpers beside it
(`workers/runtime/helper_threads.py`) while it waits for a language model.
"""

import argparse
import os
import signal
import sys
import threading
import warnings

from celery import signals
from celery.platforms import SecurityWarning

from interp.config.settings import settings
from interp.domain.cleaning import one_line
from interp.domain.errors import GlossatorError
from interp.domain.lifecycle import Queue
from interp.observability import logs, traces
from workers.llm.event_loop import close_clients
from workers.maintenance.scheduler import MaintenanceThreads
from workers.runtime.context import Runtime
from workers.runtime.health import HealthServer
from workers.runtime.helper_threads import HelperThreads
from workers.runtime.poller import Poller
from workers.runtime.shutdown import GracefulShutdown
from workers.tasks.execute import run_chunk
from workers.tasks.report_hardware import tell
from workers.wakeup import TASK, make_app, notify

log = logs.get_logger(__name__)


def main(queue: Queue, name: str | None = None) -> None:
    """Run until SIGTERM or SIGINT; then hand the chunk back between two batches or calls, and within `stop_timeout_seconds` in any case."""
    found, name = settings(), name or queue.value
    logs.configure(found, name)
    # Celery would set up a log of its own beside ours.
    signals.setup_logging.connect(_leave_the_log_alone)
    traces.configure(found, queue.value, name)
    # Celery warns root of pickled messages; ours are JSON, and say no more than a chunk id.
    warnings.simplefilter("ignore", SecurityWarning)
    runtime = Runtime.of(found, queue, name)
    leaving = GracefulShutdown(runtime)
    health = HealthServer(runtime.pulse, found, name)
    runtime.leases.begin()
    try:
        if queue is Queue.UPKEEP:
            _keep_up(runtime, leaving)
        else:
            _answer_bells(runtime, queue, leaving)
    finally:
        runtime.leases.end()
        health.close()


def _leave_the_log_alone(**_details: object) -> None:
    """Celery sets up no log where somebody answers this signal."""


def _keep_up(runtime: Runtime, leaving: GracefulShutdown) -> None:
    """The sweeper as a process of its own: what the supervisor does where workers are its children."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: leaving.begin())
    sweeper = MaintenanceThreads(runtime.engine, runtime.settings)
    sweeper.start()
    log.info("sweeping", every_seconds=runtime.settings.sweep_interval_seconds)
    runtime.stopping.wait()
    sweeper.stop()


def _answer_bells(runtime: Runtime, queue: Queue, leaving: GracefulShutdown) -> None:
    app = make_app(runtime.settings)

    def step() -> bool:
        worked = run_chunk(runtime, queue, asking=helpers.asking)
        if worked:
            notify(runtime.engine, runtime.settings)
        return worked

    helpers = HelperThreads(runtime.settings.llm_worker_threads - 1 if queue is Queue.LLM else 0, step, runtime.stopping)
    looks = Poller(runtime, queue, helpers)

    @app.task(name=TASK)  # type: ignore[untyped-decorator]
    def answer(chunk_id: str) -> None:
        looks.answer(chunk_id)

    def stop(**_details: object) -> None:
        leaving.begin()

    def stop_early(*_: object) -> None:
        leaving.begin()
        raise SystemExit(0)

    # Until Celery is up and has handlers of its own: a chunk may be in work by then.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop_early)
    signals.worker_shutting_down.connect(stop)
    if queue is Queue.GPU:
        tell(runtime)
    # Before the broker is reached for: it may be away for long.
    looks.start()
    name = f"{runtime.presence.report.name}-{os.getpid()}@%h"
    options = ["--pool=threads", "--concurrency=1", f"--queues={queue.value}", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    try:
        app.worker_main(["--quiet", "worker", *options, "--loglevel=warning", f"--hostname={name}"])
    finally:
        leaving.begin()
        looks.join()
        helpers.join()
        close_clients()


def _die_with_the_parent() -> None:
    """The supervisor holds the other end of standard input: when it is gone, however it went, so is this process."""

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
        _die_with_the_parent()
    try:
        main(arguments.queue, arguments.name)
    except GlossatorError as error:
        sys.stderr.write(f"error: {one_line(str(error))}\n")
        raise SystemExit(error.exit_status) from None
