"""Tasks on untrusted files, in child processes with limits on memory and time.

`interp.security.sandbox_server` forks these processes; requests and answers are JSON. The kernel ends a process that exceeds a limit; the server ends
one whose client has ended.
"""

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

from pydantic import TypeAdapter

from interp.config.secrets import FOREIGN
from interp.config.settings import Settings
from interp.domain.errors import ChecksBusyError, FilesTakeTooMuchError, GlossatorError, error_classes
from interp.security.sandbox_server import REQUEST, STATUS

Given = TypeVar("Given")
Found = TypeVar("Found")

# Imported once by the server, so that its children need not.
PRELOAD = ("interp.planning.preflight",)
# Variables of paths and languages: the processes get no others, and no secret.
VARIABLES = frozenset(
    {"PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"}
    | {"XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}
)
# One thread: a forked child has no other, and several processes run at once.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
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
READ_BYTES = 1 << 20


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
    """Limits of one process: memory beyond that of its start, and seconds."""

    memory_bytes: int
    seconds: float

    @classmethod
    def of(cls, settings: Settings) -> "ResourceLimits":
        return cls(settings.preflight_memory_bytes, settings.preflight_timeout_seconds + SPARE_SECONDS)


class Processes:
    """A bounded number of concurrent processes with the same limits, usable by any thread."""

    def __init__(self, limits: ResourceLimits, at_once: int) -> None:
        self._limits, self._room = limits, threading.BoundedSemaphore(at_once)

    @classmethod
    def of(cls, settings: Settings) -> "Processes":
        return cls(ResourceLimits.of(settings), settings.preflight_processes)

    def begin(self, task: Task[Given, Found], given: Given, seconds: float) -> "Pending[Found]":
        """Start a process; raises ChecksBusyError when none may start within `seconds`."""
        if not self._room.acquire(timeout=seconds):
            raise ChecksBusyError(
                "The server is looking at as many jobs as it may at once.",
                why="Each is read in a process of its own, and their number is bounded.",
                cure="Ask again in some seconds; GLOSSATOR_PREFLIGHT_PROCESSES allows more.",
            )
        try:
            return Pending(task, task.request(given), self._limits, self._room.release)
        except BaseException:
            self._room.release()
            raise


class Pending(Generic[Found]):
    """A running process, as a context manager that ends it."""

    def __init__(self, task: Task[Any, Found], request: bytes, limits: ResourceLimits, release: Callable[[], None]) -> None:
        self._task, self._limits, self._release = task, limits, release
        self._deadline = time.monotonic() + limits.seconds + GRACE_SECONDS
        self._unsent, self._answer, self._status = memoryview(request), bytearray(), bytearray()
        self._is_over = False  # nothing more can be sent or received
        self._channel, self._ended = _server.fork(limits)
        self._send()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._channel.close()
        os.close(self._ended)
        self._release()

    def wait(self, seconds: float) -> bool:
        """Wait up to `seconds` for the process's end; raises FilesTakeTooMuchError past the deadline."""
        until = time.monotonic() + seconds
        while not self._has_ended(min(until, self._deadline) - time.monotonic()):
            if time.monotonic() >= self._deadline:
                raise self._too_much("time")
            if time.monotonic() >= until:
                return False
        return True

    def result(self) -> Found:
        """Return the task's result, or raise the task's error or FilesTakeTooMuchError."""
        while not self.wait(self._limits.seconds):
            pass
        status = STATUS.unpack(self._status)[0] if len(self._status) == STATUS.size else None
        if status is None:
            raise ChecksBusyError("The process that looks at files has ended.", cure="Ask again: it is started anew.")
        if status < 0:
            raise self._too_much("time" if -status in _TIME else "memory")
        return self._read()

    def _read(self) -> Found:
        if len(self._answer) > MOST_BYTES:
            raise self._too_much("memory")
        answer = json.loads(bytes(self._answer))
        if "exceeded" in answer:
            raise self._too_much("memory")
        if "error" in answer:
            raise _raised(answer["error"])
        if "fault" in answer:
            raise RuntimeError(f"{self._task.name} failed in its process:\n{answer['fault']}")
        return self._task.found.validate_python(answer["found"])

    def _has_ended(self, seconds: float) -> bool:
        """Transfer what is ready within `seconds`, and return whether the process has ended."""
        poll = select.poll()
        poll.register(self._ended, select.POLLIN)
        wanted = select.POLLIN | (select.POLLOUT if self._unsent else 0)
        if not self._is_over:
            poll.register(self._channel, wanted)
        for descriptor, event in poll.poll(max(0.0, seconds) * 1000):
            if descriptor == self._ended:
                found = os.read(self._ended, STATUS.size)
                if not found or len(self._status) + len(found) == STATUS.size:
                    self._status += found
                    self._take_rest()
                    return True
                self._status += found
            elif event & select.POLLOUT:
                self._send()
            else:
                self._take()
        return False

    def _send(self) -> None:
        try:
            self._unsent = self._unsent[self._channel.send(self._unsent) :]
            if not self._unsent:
                self._channel.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            pass
        except OSError:
            # It ended before it had read all; its status says why.
            self._unsent, self._is_over = memoryview(b""), True

    def _take(self) -> bool:
        """Receive a part of the answer; False when none is ready or none will come."""
        try:
            part = self._channel.recv(READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            part = b""
        if len(self._answer) <= MOST_BYTES:
            self._answer += part
        self._is_over = not part
        return bool(part)

    def _take_rest(self) -> None:
        while not self._is_over and self._take():
            pass

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
        self._owner = 0
        self._later: tuple[str, ...] = ()
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *later: str) -> None:
        """Start the server without waiting; it loads the modules of `later` while idle."""
        with self._lock:
            self._later = later
            self._started()

    def fork(self, limits: ResourceLimits) -> tuple[socket.socket, int]:
        """Fork a child, and return its channel and the pipe of its exit status."""
        ours, theirs = socket.socketpair()
        ended, ending = os.pipe()
        try:
            request = REQUEST.pack(limits.memory_bytes, limits.seconds)
            with self._lock:
                try:
                    socket.send_fds(self._started(), [request], [theirs.fileno(), ending])
                except OSError:
                    self._forget()
                    socket.send_fds(self._started(), [request], [theirs.fileno(), ending])
        except BaseException:
            ours.close()
            os.close(ended)
            raise
        finally:
            theirs.close()
            os.close(ending)
        ours.setblocking(False)
        return ours, ended

    def stop(self) -> None:
        """End the server and its children."""
        with self._lock:
            self._forget()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self._owner == os.getpid() else None

    def _started(self) -> socket.socket:
        if self._control is not None and self._owner == os.getpid() and self._process is not None and self._process.poll() is None:
            return self._control
        self._forget()
        ours, theirs = socket.socketpair()
        with theirs:
            # Without the working directory on its module path: files there are the user's.
            modules = [part for part in sys.path if part]
            command = [sys.executable, "-P", "-c", PROGRAM, json.dumps(modules), str(theirs.fileno()), json.dumps([PRELOAD, self._later])]
            self._process = subprocess.Popen(
                command, env=_environment(), pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
        self._control, self._owner = ours, os.getpid()
        return ours

    def _forget(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._process is not None and self._owner == os.getpid():
            # Closing the socket also ends it, but not while it loads modules.
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._control, self._process = None, None


_server = _SandboxProcess()
atexit.register(_server.stop)
start, stop = _server.start, _server.stop
_TIME = frozenset({signal.SIGALRM, signal.SIGXCPU})


def server_pid() -> int | None:
    """Return the process id of the server; None before its start."""
    return _server.pid


def _environment() -> dict[str, str]:
    named = {name: value for name, value in os.environ.items() if name in VARIABLES and not FOREIGN.fullmatch(name)}
    return named | ONE_THREAD


def _raised(content: dict[str, Any]) -> GlossatorError:
    """Return a child's error, of the nearest class that this process knows."""
    known = {kind.__name__: kind for kind in error_classes()}
    kind = next(known[name] for name in content["kinds"] if name in known)
    return kind(content["what"], why=content["why"], cure=content["cure"], **content["details"])
