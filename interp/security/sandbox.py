"""Work on files that somebody else wrote, done in a process of its own with limits on memory and time, and waited for no longer than one likes.

`interp.security.sandbox_server` forks these processes; what goes to and fro is JSON.
A process that passes a limit is ended by the kernel, and so is one that nobody waits for any more.
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

# Imported once, so that no child does it again.
PRELOAD = ("interp.planning.preflight",)
# The variables that say where programs, caches and texts are: nothing else goes to the processes, and no secret.
VARIABLES = frozenset(
    {"PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"}
    | {"XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}
)
# One thread: a child of a fork has no other, and cores are for those that run at once.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
PROGRAM = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from interp.security.sandbox_server import main
main(int(sys.argv[2]), *json.loads(sys.argv[3]))
"""
# How long beyond its deadline a child is waited for: for the server's start, and the kernel.
GRACE_SECONDS = 10.0
# What reads within an allowance of time says so itself, with a better cause: it is ended where it does not.
SPARE_SECONDS = 2.0
STOP_SECONDS = 5.0
MOST_BYTES = 64 << 20
READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Task(Generic[Given, Found]):
    """A function that a child process carries out. `name` is where the task stands, as `module:NAME`."""

    name: str
    function: Callable[[Given], Found]
    given: TypeAdapter[Given]
    found: TypeAdapter[Found]

    def carry_out(self, given: Any) -> dict[str, Any]:
        """What the child does: JSON values in, JSON values out."""
        return {"found": self.found.dump_python(self.function(self.given.validate_python(given)), mode="json")}

    def request(self, given: Given) -> bytes:
        """What is sent to the child."""
        return json.dumps({"task": self.name, "given": self.given.dump_python(given, mode="json")}).encode()


@dataclass(frozen=True, slots=True)
class ResourceLimits:
    """What one process may take: memory beyond that of its start, and seconds."""

    memory_bytes: int
    seconds: float

    @classmethod
    def of(cls, settings: Settings) -> "ResourceLimits":
        return cls(settings.preflight_memory_bytes, settings.preflight_timeout_seconds + SPARE_SECONDS)


class Processes:
    """Room for some processes at once, each within the same limits. Of any number of threads."""

    def __init__(self, limits: ResourceLimits, at_once: int) -> None:
        self._limits, self._room = limits, threading.BoundedSemaphore(at_once)

    @classmethod
    def of(cls, settings: Settings) -> "Processes":
        """As many as the settings allow."""
        return cls(ResourceLimits.of(settings), settings.preflight_processes)

    def begin(self, task: Task[Given, Found], given: Given, seconds: float) -> "Pending[Found]":
        """Starts a process, once there is room. Raises ChecksBusy where there is none within `seconds`."""
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
    """A process at work. A context manager: leaving it ends the process, whatever it has done."""

    def __init__(self, task: Task[Any, Found], request: bytes, limits: ResourceLimits, let_go: Callable[[], None]) -> None:
        self._task, self._limits, self._let_go = task, limits, let_go
        self._deadline = time.monotonic() + limits.seconds + GRACE_SECONDS
        self._unsent, self._answer, self._status = memoryview(request), bytearray(), bytearray()
        self._is_over = False  # nothing more can be sent or comes
        self._channel, self._ended = _server.fork(limits)
        self._send()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._channel.close()
        os.close(self._ended)
        self._let_go()

    def wait(self, seconds: float) -> bool:
        """Whether the process has ended, which is waited for so long at most. Raises FilesTakeTooMuch past the deadline, however it is hung."""
        until = time.monotonic() + seconds
        while not self._has_ended(min(until, self._deadline) - time.monotonic()):
            if time.monotonic() >= self._deadline:
                raise self._too_much("time")
            if time.monotonic() >= until:
                return False
        return True

    def result(self) -> Found:
        """What the task has found, waited for to its deadline. Raises what it raised, and FilesTakeTooMuch."""
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
        """Sends and takes what there is to, and waits for more so long."""
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
            # It ended before it had read all: how, its status tells.
            self._unsent, self._is_over = memoryview(b""), True

    def _take(self) -> bool:
        """Takes a part of the answer; False where there is none just now, or no more."""
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

    def _too_much(self, what: str) -> FilesTakeTooMuchError:
        if what == "time":
            return FilesTakeTooMuchError(
                f"The job's files could not be looked at within {self._limits.seconds:g} seconds.",
                why="What a job names is read within limits before it starts, and the process that did was ended.",
                cure="Use files that are read sooner, or raise GLOSSATOR_PREFLIGHT_TIMEOUT_SECONDS.",
                limit="time",
            )
        return FilesTakeTooMuchError(
            f"The job's files could not be looked at with {self._limits.memory_bytes >> 20:,} MiB of memory.",
            why="What a job names is read within limits before it starts, and the process that did was ended.",
            cure="Use files that take less, or raise GLOSSATOR_PREFLIGHT_MEMORY_BYTES.",
            limit="memory",
        )


class _SandboxProcess:
    """The process that forks, one for this process: started when it is first needed, and anew where it has ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = 0
        self._later: tuple[str, ...] = ()
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *later: str) -> None:
        """Starts it where it does not run, and does not wait until it is ready. It loads the modules of `later` while nobody asks it."""
        with self._lock:
            self._later = later
            self._started()

    def fork(self, limits: ResourceLimits) -> tuple[socket.socket, int]:
        """A new child: the channel to it, and the pipe that tells how it ended."""
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
        """Ends it, and what it forked."""
        with self._lock:
            self._forget()

    @property
    def pid(self) -> int | None:
        """The process's id; None where none was started."""
        return self._process.pid if self._process is not None and self._owner == os.getpid() else None

    def _started(self) -> socket.socket:
        if self._control is not None and self._owner == os.getpid() and self._process is not None and self._process.poll() is None:
            return self._control
        self._forget()
        ours, theirs = socket.socketpair()
        with theirs:
            # Without the folder of the start among its modules: files there are the user's.
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
            # Closing the socket ends it as well, but not while it loads modules.
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
    """The id of the process that forks; None where none was started."""
    return _server.pid


def _environment() -> dict[str, str]:
    named = {name: value for name, value in os.environ.items() if name in VARIABLES and not FOREIGN.fullmatch(name)}
    return named | ONE_THREAD


def _raised(told: dict[str, Any]) -> GlossatorError:
    """The error that a child told of: of its own kind where this process knows it, else of the nearest."""
    known = {kind.__name__: kind for kind in error_classes()}
    kind = next(known[name] for name in told["kinds"] if name in known)
    return kind(told["what"], why=told["why"], cure=told["cure"], **told["details"])
