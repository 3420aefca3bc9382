"""`glossator run`: one job from beginning to end, without a service."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from api.cli.commands.submit import assignments, read_spec, say_if_by_files
from api.cli.local import Local
from api.cli.output import progress, report
from api.cli.output.console import err, print_json, say
from api.cli.time_limit import slurm_time_limit, time_limit
from api.jobs.paths import paths_of
from api.jobs.single_run import go_on, submit_once
from interp.config.home import SharedHomeLock, make_home
from interp.config.settings import Settings, take_settings
from interp.domain.errors import InputError
from interp.domain.lifecycle import JOB_ENDS
from interp.store import migrate
from interp.store.db.engine import DBAPIError, Engine, is_transient, make_engine
from workers.supervisor import Supervisor
from workers.wakeup import broker_fault

# The status of BSD's EX_TEMPFAIL: the job is not finished, and the same command goes on with it.
UNFINISHED = 75
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
LOOK_SECONDS = 0.5
# Beside the workers' own time to stop: the processes' start of the end, and the shell's.
SPARE_SECONDS = 10.0


def run(
    file: Annotated[Path, typer.Argument(help="A job as YAML. Its relative paths start at its own folder.")],
    change: Annotated[list[str] | None, typer.Option("--set", help="A setting to change: features=0-99. Repeat for more.")] = None,
    home: Annotated[Path | None, typer.Option(help="Folder of the database and the artifacts; GLOSSATOR_HOME when not given.")] = None,
    until: Annotated[
        str | None, typer.Option(help="Return unfinished work by then: +3h50m, 18:30, 2026-11-30T18:30. In a Slurm job, its end when not given.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume the job if it paused, with the file's budget; retry what failed of it if it ended.")
    ] = False,
    key: Annotated[str, typer.Option(help="Another text gives another job of the same file.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the finished job as JSON.")] = False,
) -> None:
    """Run one job to its end without a service, with workers of its own.

    The same command goes on with an unfinished job. Several at once share its work. SIGINT, SIGTERM, SIGUSR1 and SIGUSR2 return what is in work to
    the queue; the exit status is then 75.
    """
    spec = read_spec(file, assignments(change))
    given: dict[str, Any] = {} if home is None else {"home": home.absolute()}
    settings = take_settings(**given, roots=paths_of(spec))
    deadline = _deadline(until, settings)
    with _stop_signals() as stopping, ExitStack() as opened:
        engine = _open(settings, opened)
        with progress.fetch_bar() as bar:
            job_id = submit_once(engine, settings, spec, key, bar)
        reader = Local(engine, settings)
        if resume and reader.get_job(job_id)["status"] in ("paused", "failed", "completed"):
            go_on(engine, settings, job_id, spec.budget)
        say(f"job {job_id}")
        say_if_by_files(spec)
        job: dict[str, Any] | None = reader.get_job(job_id)
        if job is not None and job["status"] not in JOB_ENDS:
            job = _work(reader, settings, job_id, stopping, deadline)
        if job is None:
            say(f"Job {job_id} is not finished; what was in work is back in the queue. The same command goes on with it.")
            raise typer.Exit(UNFINISHED)
        progress.raise_unless_completed(job)
        if as_json:
            print_json(job)
            return
        report.print_report(reader, job)
        progress.require_explained(reader, job)


def _deadline(until: str | None, settings: Settings) -> Callable[[], bool]:
    """Return a function that says when to stop for the limit.

    Raises InputError where there is no time left.
    """
    limit = slurm_time_limit(os.environ) if until is None else time_limit(until, datetime.now().astimezone())
    if limit is None:
        return lambda: False
    left = (limit - datetime.now(UTC)).total_seconds() - settings.stop_timeout_seconds - SPARE_SECONDS
    if left <= 0:
        raise InputError(
            f"There is no time to work until {limit:%Y-%m-%d %H:%M:%S %Z}.",
            why=f"Stopping may take {settings.stop_timeout_seconds + SPARE_SECONDS:.0f} seconds.",
            cure="Give more time, or lower GLOSSATOR_STOP_TIMEOUT_SECONDS.",
        )
    end = time.monotonic() + left
    return lambda: time.monotonic() >= end


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Yield an event that the signals set, in place of ending the process."""
    stopped = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopped.set()

    before = {number: signal.signal(number, stop) for number in STOP_SIGNALS}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _open(settings: Settings, opened: ExitStack) -> Engine:
    """Return the database, at this version; raises HomeTakenError and what the database raises."""
    make_home(settings.home)
    if settings.is_alone:
        opened.callback(SharedHomeLock(settings.home).release)
    if fault := broker_fault(settings):
        raise fault
    migrate.upgrade(settings.database_url)
    engine = make_engine(settings.database_url)
    opened.callback(engine.dispose)
    return engine


def _work(reader: Local, settings: Settings, job_id: str, stopping: threading.Event, is_time: Callable[[], bool]) -> dict[str, Any] | None:
    """Run workers until the job ends or pauses; return the job.

    None where this process must stop before.
    """
    with (settings.home / "workers.log").open("ab") as log:
        supervisor = Supervisor(settings, log)
        supervisor.start()
        try:
            with progress.display(err) as shown:
                while not (stopping.wait(LOOK_SECONDS) or is_time()):
                    job = _look(reader, job_id)
                    if job is not None:
                        shown.show(job)
                        if job["status"] in progress.STOPS:
                            return job
            return None
        finally:
            supervisor.stop()


def _look(reader: Local, job_id: str) -> dict[str, Any] | None:
    """Return the job; None while the database is unreachable."""
    try:
        return reader.get_job(job_id)
    except DBAPIError as error:
        if not is_transient(error):
            raise
        return None
