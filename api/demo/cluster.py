"""Run a service of many processes, `glossator serve --no-workers` and `glossator worker`."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from api.demo.guarded_child import GuardedChild
from api.demo.local_servers import free_port
from glossator import Client
from interp.config.home import make_home
from interp.config.secrets import start_child
from interp.config.settings import Settings
from interp.domain.errors import GlossatorError
from interp.domain.lifecycle import Queue, Stage
from interp.store import migrate
from interp.store.db.engine import make_engine, snapshot
from interp.store.queue import chunks
from interp.store.queue.chunks import Lease

START_SECONDS, STOP_SECONDS = 120.0, 30.0
POLL_SECONDS, WATCH_SECONDS = 0.1, 0.005
LOG_LINES = 10
PROGRAM = "from api.cli import main; main()"


class ProcessEndedError(GlossatorError, code="process-ended", title="A process of the cluster ended"):
    """A process of the cluster ended unexpectedly."""


@dataclass(eq=False)
class Member:
    """A process: its name, its arguments of `glossator`, and its number of computation threads."""

    name: str
    arguments: tuple[str, ...]
    threads: int = 1
    child: GuardedChild | None = None

    @property
    def process(self) -> "subprocess.Popen[bytes] | None":
        return None if self.child is None else self.child.process


@dataclass(frozen=True)
class Kill:
    """A worker that was killed, and its chunk."""

    worker: str
    pid: int
    lease: Lease


@dataclass
class Cluster:
    """An api, workers of each queue and an upkeep process, as a context manager.

    They use the database and broker of the settings. Several gpu workers on one machine share its cores equally. Each process has a log file in
    `home`.
    """

    settings: Settings
    gpu_workers: int = 2
    llm_workers: int = 2
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        cores = max(1, (os.cpu_count() or 1) // max(1, self.gpu_workers))
        self._members = [Member("api", ("serve", "--no-workers", "--host", "127.0.0.1", "--port", str(self.port)))]
        self._members += [_worker(Queue.GPU, f"gpu-{number}", cores) for number in range(self.gpu_workers)]
        self._members += [_worker(Queue.LLM, f"llm-{number}", 1) for number in range(self.llm_workers)]
        self._members.append(_worker(Queue.UPKEEP, "upkeep", 1))
        self._engine = make_engine(self.settings.database_url)

    @property
    def url(self) -> str:
        """Return the address of the api."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def commands(self) -> list[str]:
        """Return the equivalent commands, one per process."""
        return [f"glossator {' '.join(member.arguments)}" for member in self._members]

    def __enter__(self) -> Self:
        make_home(self.settings.home)
        try:
            migrate.upgrade(self.settings.database_url)
            for member in self._members:
                self._start(member)
            self._wait_for_the_api()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def kill_a_worker(self, job_id: str, stage: Stage, stopping: threading.Event) -> Kill | None:
        """Await a worker with a chunk of the stage and kill it; None once `stopping`.

        SIGSTOP and another check of the chunk precede SIGKILL.
        """
        while not stopping.wait(WATCH_SECONDS):
            for member, found in self._at_work(job_id, stage):
                _signal(member, signal.SIGSTOP)
                if (member, found) in self._at_work(job_id, stage):
                    pid = _signal(member, signal.SIGKILL)
                    return Kill(member.name, pid, found)
                _signal(member, signal.SIGCONT)
        return None

    def check(self) -> None:
        """Raise ProcessEndedError if a process ended unexpectedly."""
        for member in self._members:
            if member.process is not None and member.process.poll() not in (None, -signal.SIGKILL):
                why = " ".join(self._log_of(member).read_text(errors="replace").splitlines()[-LOG_LINES:])
                raise ProcessEndedError(f"{member.name} ended with status {member.process.returncode}.", why=why, cure=f"See {self._log_of(member)}.")

    def _at_work(self, job_id: str, stage: Stage) -> list[tuple[Member, Lease]]:
        by_pid = {str(member.process.pid): member for member in self._members if member.process is not None and member.process.poll() is None}
        with snapshot(self._engine) as session:
            found = chunks.leased(session, job_id, stage)
        pairs = ((lease.owner.split("/")[1:2], lease) for lease in found)
        return [(by_pid[pid[0]], lease) for pid, lease in pairs if pid and pid[0] in by_pid]

    def _start(self, member: Member) -> None:
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(member.threads))
        with self._log_of(member).open("ab") as log:
            process = start_child(
                [sys.executable, "-c", PROGRAM, *member.arguments],
                self.settings.environment() | threads,
                self.settings.secret_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
            )
        member.child = GuardedChild(process)

    def _wait_for_the_api(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        with Client(self.url) as client:
            while not client.is_ready():
                self.check()
                if time.monotonic() > deadline:
                    raise ProcessEndedError(f"The api did not answer within {START_SECONDS:.0f} s.", cure=f"See {self._log_of(self._members[0])}.")
                time.sleep(POLL_SECONDS)

    def _stop(self) -> None:
        """Stop all processes in parallel; kill those still running after `STOP_SECONDS`."""
        with ThreadPoolExecutor(len(self._members)) as executor:
            for child in [member.child for member in self._members if member.child is not None]:
                executor.submit(child.stop, STOP_SECONDS)
        self._engine.dispose()

    def _log_of(self, member: Member) -> Path:
        return self.settings.home / f"{member.name}.log"


def _worker(queue: Queue, name: str, threads: int) -> Member:
    return Member(name, ("worker", queue.value, "--name", name), threads)


def _signal(member: Member, number: signal.Signals) -> int:
    """Send a signal to a process not yet waited for; return its pid."""
    assert member.process is not None
    with contextlib.suppress(ProcessLookupError):
        member.process.send_signal(number)
    return member.process.pid
