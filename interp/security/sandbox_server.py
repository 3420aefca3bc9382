"""Server process that forks a limited child per request; its client is `interp.security.sandbox`.

It has one thread, no secret in its environment, and only the open files that it was given, so that a fork is quick and safe. It and its children end
with the process that started it.
"""

import gc
import importlib
import json
import math
import os
import resource
import select
import signal
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType
from typing import Any, Never

from interp.domain.errors import GlossatorError

# A request: bytes of memory beyond those of the start, seconds, bytes of the answer and of each other file. With it come two descriptors: the file
# of request and answer, and the pipe for the exit status.
REQUEST = struct.Struct("!qdq")
STATUS = struct.Struct("!i")
DESCRIPTORS = 2
READ_BYTES = 1 << 16
# The only descriptor of a child beside the standard ones.
EXCHANGE = 3
# Variable of the environment of processes that read untrusted files: they ask no other host.
WITHOUT_NETWORK = "FILES_WITHOUT_NETWORK"


def main(control: int, preload: Sequence[str], later: Sequence[str] = ()) -> None:
    """Serve until the control socket is closed; load modules of `later` while idle."""
    # Ctrl-C in a terminal is meant for the client.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    for module in preload:
        _load(module)
    with socket.socket(fileno=control) as asked:
        _serve(asked, woken, list(later))


def _end(_number: int, _frame: FrameType | None) -> Never:
    raise SystemExit


def _load(module: str) -> None:
    importlib.import_module(module)
    # These objects are in every child, and never garbage-collected, so that their pages stay shared.
    gc.collect()
    gc.freeze()


def _serve(asked: socket.socket, woken: int, later: list[str]) -> None:
    children: dict[int, int] = {}  # pipes for the exit statuses, by process
    poll = select.poll()
    poll.register(asked, select.POLLIN)
    poll.register(woken, select.POLLIN)
    try:
        while True:
            events = poll.poll(0 if later else None)
            if later and not events:
                _load(later.pop(0))
            for descriptor, _event in events:
                if descriptor == woken:
                    os.read(woken, READ_BYTES)
                elif descriptor == asked.fileno():
                    if not _take(asked, children, poll):
                        return
                else:
                    # The client has closed its end.
                    poll.unregister(descriptor)
                    _kill(pid for pid, status in children.items() if status == descriptor)
            _reap(children, poll)
    finally:
        _kill(children)


def _take(asked: socket.socket, children: dict[int, int], poll: select.poll) -> bool:
    """Start a child for one request; return False when the client has ended."""
    request, descriptors, _flags, _address = socket.recv_fds(asked, REQUEST.size, DESCRIPTORS)
    if len(request) != REQUEST.size or len(descriptors) != DESCRIPTORS:
        return False
    exchange, status = descriptors
    pid = os.fork()
    if pid == 0:
        _child(exchange, *REQUEST.unpack(request))
    os.close(exchange)
    children[pid] = status
    poll.register(status, 0)
    return True


def _reap(children: dict[int, int], poll: select.poll) -> None:
    """Write the exit status, or negative signal number, of each ended child."""
    for pid, descriptor in list(children.items()):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if not ended:
            continue
        with suppress(KeyError):
            poll.unregister(descriptor)
        with suppress(BrokenPipeError):
            os.write(descriptor, STATUS.pack(os.waitstatus_to_exitcode(status)))
        os.close(descriptor)
        del children[pid]


def _kill(pids: Any) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _child(exchange: int, memory: int, seconds: float, answer_bytes: int) -> None:
    """Answer one request, and end this process: with status 0 where the answer is complete."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        _limit(memory, seconds, answer_bytes)
        _keep_only(exchange)
        with open(EXCHANGE, "r+b") as file:
            answer = json.dumps(_answer(json.load(file)), default=str).encode()
            file.seek(0)
            file.truncate()
            file.write(answer)
        code = 0
    finally:
        os._exit(code)


def _limit(memory: int, seconds: float, answer_bytes: int) -> None:
    """Set limits beyond which the kernel ends this process."""
    signal.setitimer(signal.ITIMER_REAL, seconds)
    _lower(resource.RLIMIT_CPU, math.ceil(seconds) + 1)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, answer_bytes)
    own = _own_memory()
    _lower(resource.RLIMIT_DATA, own + memory)
    _lower(resource.RLIMIT_AS, own + memory)


def _lower(kind: int, wanted: int) -> None:
    _, most = resource.getrlimit(kind)
    value = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    # Systems differ in their limits; the deadline applies on all.
    with suppress(ValueError, OSError):
        resource.setrlimit(kind, (value, value))


def _own_memory() -> int:
    """Return the bytes of this process's address space."""
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - not a user's path
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _keep_only(exchange: int) -> None:
    """Close all descriptors but that of the file, and discard the output of libraries."""
    if exchange != EXCHANGE:
        os.dup2(exchange, EXCHANGE)
    os.closerange(EXCHANGE + 1, os.sysconf("SC_OPEN_MAX"))
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    """Return the task's answer; raises MemoryError."""
    try:
        module, _, name = request["task"].partition(":")
        answer: dict[str, Any] = getattr(importlib.import_module(module), name).carry_out(request["given"])
        return answer
    except MemoryError:
        raise
    except GlossatorError as error:
        if _is_of_memory(error):
            raise
        return {"error": {"code": error.code, "what": error.what, "why": error.why, "cure": error.cure, "details": error.details}}
    except Exception:  # a defect; the client logs it
        import traceback

        return {"fault": traceback.format_exc()}


def _is_of_memory(error: BaseException) -> bool:
    """Return whether the limit on memory caused the error."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, MemoryError):
        cause = cause.__cause__
    return cause is not None
