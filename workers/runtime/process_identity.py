"""Who owns a lease: a process, named so that anybody on the same machine can tell whether it still lives."""

import os
import socket
from pathlib import Path


def this_process() -> str:
    """`host/pid/start`: pids come back, a pid with its start time does not."""
    return f"{_host()}/{os.getpid()}/{_started(os.getpid())}"


def is_gone(owner: str) -> bool:
    """Whether the owner is a process of this machine that lives no more. False for what another machine owns: nobody here can know."""
    parts = owner.rsplit("/", 2)
    if len(parts) != 3 or parts[0] != _host() or not parts[1].isdigit():
        return False
    return _started(int(parts[1])) != parts[2]


def _host() -> str:
    """The machine and its process namespace: two containers may share a name, but not both."""
    namespace = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()}-{namespace.stat().st_ino}" if namespace.exists() else socket.gethostname()


def _started(pid: int) -> str:
    """A mark of when the process began; empty when there is no such process, or it is dead and not yet reaped."""
    stat = Path(f"/proc/{pid}/stat")
    if not Path("/proc/self/stat").exists():
        return _answers(pid)
    try:
        fields = stat.read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    state, start = fields[0], fields[19]
    return "" if state in "ZX" else start


def _answers(pid: int) -> str:
    """Where there is no /proc: whether the pid is in use is all that can be known."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "?"
