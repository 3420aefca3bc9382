"""Tasks on untrusted files, in child processes with limits on memory and time.

`interp.security.sandbox_server` forks these processes; requests and answers are JSON in a file of
each. The kernel ends a process that exceeds a limit; the server ends
one whose client has ended.
"""

import atexit
import json
import math
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, Any, Generic, TypeVar

from pydantic import TypeAdapter

from interp.config.secrets import FOREIGN
from interp.config.settings import Settings
from interp.domain.errors import ChecksBusyError, FilesTakeTooMuchError, GlossatorError, error_classes
from interp.security.sandbox_server import REQUEST, STATUS, WITHOUT_NETWORK

Given = TypeVar("Given")
Found = TypeVar("Found")

# Imported once by the server, so that its children need not.
PRELOAD = ("interp.planning.preflight",)
# Variables of paths and languages: the processes get no others, and no secret.
VARIABLES = frozenset(
    {"PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"}
    | {"XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}
)
# One thread: a forked child has no other, and several processes run at once. No network: what is not on this machine is a worker's to fetch.
CONFINED = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", WITHOUT_NETWORK: "1"}
PROGRAM = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from interp.security.sandbox_server import main
main(int(sys.argv[2]), *json.loads(sys.argv[3]))
"""
# Wait beyond a child's deadline, for the server's start and the kernel.
GRACE_SECONDS = 10.0
# A task that reads within an allowance of time raises an error with a better cause before this limit.
SPARE_SECONDS = 2.0
STOP_SECONDS = 5.0
MOST_BYTES = 64 << 20


@dataclass(frozen=True)
class Task(Generic[Given, Found]):
    """A function for a child process; `name` is the task's own, as `module:NAME`."""

    name: str
    function: Callable[[Given], Found]
    given: TypeAdapter[Given]
    found: TypeAdapter[Found]

    def carry_out(self, given: Any) -> dict[str, Any]:
        """Run the function on JSON values in the child."""
        return {"found": self.found.dump_python(self.function(self.given.validate_python(given)), mode="json")}

    def request(self, given: Given) -> bytes:
        return json.dumps({"task": self.name, "given": self.given.dump_python(given, mode="json")}).encode()


@dataclass(frozen=True, slots=True)
class ResourceLimits:
    """Limits of one process: memory beyond that of its start, seconds, size of files."""

    memory_bytes: int
    seconds: float
    file_bytes: int = MOST_BYTES

    @classmethod
    def of(cls, settings: Settings) -> "ResourceLimits":
        return cls(settings.preflight_memory_bytes, settings.preflight_timeout_seconds + SPARE_SECONDS)


class Processes:
    """A bounded number of concurrent processes with the same limits, usable by any thread."""

    def __init__(self, limits: ResourceLimits, at_once: int) -> None:
        self._limits, self._free = limits, threading.BoundedSemaphore(at_once)

    @classmethod
    def of(cls, settings: Settings) -> "Processes":
        return cls(ResourceLimits.of(settings), settings.preflight_processes)

    @contextmanager
    def begin(self, task: Task[Given, Found], given: Given, seconds: float) -> "Iterator[Pending[Found]]":
        """Run a process during the block; raises ChecksBusyError when none may start within `seconds`."""
        if not self._free.acquire(timeout=seconds):
            raise ChecksBusyError(
                "The server is looking at as many jobs as it may at once.",
                why="Each is read in a process of its own, and their number is bounded.",
                cure="Ask again in some seconds; GLOSSATOR_PREFLIGHT_PROCESSES allows more.",
            )
        try:
            with ExitStack() as opened:
                exchange = opened.enter_context(_exchange())
                exchange.write(task.request(given))
                exchange.seek(0)
                ended = opened.enter_context(open(_server.fork(self._limits, exchange.fileno()), "rb", buffering=0))  # noqa: PTH123 - a descriptor
                yield Pending(task, self._limits, exchange, ended)
        finally:
            self._free.release()


class Pending(Generic[Found]):
    """A running process, with its file and the pipe of its exit status."""

    def __init__(self, task: Task[Any, Found], limits: ResourceLimits, exchange: IO[bytes], ended: IO[bytes]) -> None:
        self._task, self._limits, self._exchange, self._ended = task, limits, exchange, ended
        self._deadline = time.monotonic() + limits.seconds + GRACE_SECONDS

    def wait(self, seconds: float) -> bool:
        """Wait up to `seconds` for the process's end; raises FilesTakeTooMuchError past the deadline."""
        left = self._deadline - time.monotonic()
        poll = select.poll()
        poll.register(self._ended, select.POLLIN)
        if poll.poll(max(0.0, min(seconds, left)) * 1000):
            return True
        if left <= seconds:
            raise self._too_much("time")
        return False

    def result(self) -> Found:
        """Return the task's result, or raise the task's error or FilesTakeTooMuchError."""
        self.wait(math.inf)
        found = self._ended.read(STATUS.size)
        if not found:
            raise ChecksBusyError("The process that looks at files has ended.", cure="Ask again: it is started anew.")
        (status,) = STATUS.unpack(found)
        if status != 0 or os.fstat(self._exchange.fileno()).st_size > MOST_BYTES:
            raise self._too_much("time" if -status in _TIME else "memory")
        self._exchange.seek(0)
        answer = json.loads(self._exchange.read())
        if "error" in answer:
            raise _raised(answer["error"])
        if "fault" in answer:
            raise RuntimeError(f"{self._task.name} failed in its process:\n{answer['fault']}")
        return self._task.found.validate_python(answer["found"])

    def _too_much(self, limit: str) -> FilesTakeTooMuchError:
        within, lighter, setting = {
            "time": (f"within {self._limits.seconds:g} seconds", "are read sooner", "GLOSSATOR_PREFLIGHT_TIMEOUT_SECONDS"),
            "memory": (f"with {self._limits.memory_bytes >> 20:,} MiB of memory", "take less", "GLOSSATOR_PREFLIGHT_MEMORY_BYTES"),
        }[limit]
        return FilesTakeTooMuchError(
            f"The job's files could not be looked at {within}.",
            why="What a job names is read within limits before it starts, and the process that did was ended.",
            cure=f"Use files that {lighter}, or raise {setting}.",
            limit=limit,
        )


class _SandboxProcess:
    """The server of this process, started when needed, and restarted after its end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._later: tuple[str, ...] = ()
        self._control: socket.socket | None = None
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *later: str) -> None:
        """Start the server without waiting; it loads the modules of `later` while idle."""
        with self._lock:
            self._later = later
            self._started()

    def fork(self, limits: ResourceLimits, exchange: int) -> int:
        """Fork a child that answers in a file; return the pipe of its exit status."""
        ended, ending = os.pipe()
        request = REQUEST.pack(limits.memory_bytes, limits.seconds, limits.file_bytes)
        try:
            with self._lock:
                try:
                    socket.send_fds(self._started(), [request], [exchange, ending])
                except OSError:
                    self._forget()
                    socket.send_fds(self._started(), [request], [exchange, ending])
        except BaseException:
            os.close(ended)
            raise
        finally:
            os.close(ending)
        return ended

    def stop(self) -> None:
        """End the server and its children."""
        with self._lock:
            self._forget()

    def _started(self) -> socket.socket:
        if self._control is not None and self.process is not None and self.process.poll() is None:
            return self._control
        self._forget()
        self._control, theirs = socket.socketpair()
        with theirs:
            # Without the working directory on its module path: files there are the user's.
            modules = [part for part in sys.path if part]
            command = [sys.executable, "-P", "-c", PROGRAM, json.dumps(modules), str(theirs.fileno()), json.dumps([PRELOAD, self._later])]
            self.process = subprocess.Popen(
                command, env=_environment(), pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
        return self._control

    def _forget(self) -> None:
        if self._control is not None:
            self._control.close()
        if self.process is not None:
            # Closing the socket also ends it, but not while it loads modules.
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._control, self.process = None, None


_server = _SandboxProcess()
atexit.register(_server.stop)
start, stop = _server.start, _server.stop
_TIME = frozenset({signal.SIGALRM, signal.SIGXCPU})


def server_pid() -> int | None:
    """Return the process id of the server; None before its start."""
    return None if _server.process is None else _server.process.pid


def _exchange() -> IO[bytes]:
    """Open a file in memory, or else an unnamed one on disk."""
    if sys.platform == "linux":
        return open(os.memfd_create("exchange"), "w+b", buffering=0)  # noqa: PTH123 - a descriptor
    return tempfile.TemporaryFile(buffering=0)


def python_environment() -> dict[str, str]:
    """Return the environment of a Python process that reads foreign files, without secrets."""
    return _environment() | {"PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}


def _environment() -> dict[str, str]:
    named = {name: value for name, value in os.environ.items() if name in VARIABLES and not FOREIGN.fullmatch(name)}
    return named | CONFINED


def _raised(content: dict[str, Any]) -> GlossatorError:
    """Return a child's error, of the base class of its code."""
    kind = next((kind for kind in error_classes() if kind.code == content["code"]), GlossatorError)
    return kind(content["what"], why=content["why"], cure=content["cure"], **content["details"])
