"""Find a machine's live processes and the memory that a process may use."""

import os
import socket
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


def this_process() -> str:
    """Return `host/pid/start`, this process's lease owner, unique though pids are reused."""
    return f"{_host()}/{os.getpid()}/{_start_of(os.getpid())}"


def is_gone(owner: str) -> bool:
    """Return whether the owner is an ended process of this machine; False for others."""
    parts = owner.rsplit("/", 2)
    if len(parts) != 3 or parts[0] != _host() or not parts[1].isdigit():
        return False
    return _start_of(int(parts[1])) != parts[2]


def memory_limit() -> int:
    """Return this process's memory limit in bytes: the least of container and machine."""
    return min([machine_bytes(), *cgroup_limits()])


def machine_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def cgroup_limits(own: Path = OWN_CGROUP, root: Path = CGROUP) -> list[int]:
    """Return the limits of this process's cgroup and its ancestors, version 2 or 1."""
    try:
        lines = own.read_text(encoding="ascii").splitlines()
    except OSError:
        return []
    limits: list[int] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            limits += _limits_of(root, path, "memory.max")
        elif "memory" in controllers.split(","):
            limits += _limits_of(root / "memory", path, "memory.limit_in_bytes")
    return limits


def _limits_of(root: Path, path: str, name: str) -> list[int]:
    """Return the limits of a group and its ancestors (in a container from its root)."""
    group, limits = Path(path.lstrip("/")), []
    for each in (group, *group.parents):
        try:
            text = (root / each / name).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit():  # else `max`: no limit
            limits.append(int(text))
    return limits


def _host() -> str:
    """Return the machine and its process namespace: two containers may share only one."""
    namespace = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()}-{namespace.stat().st_ino}" if namespace.exists() else socket.gethostname()


def _start_of(pid: int) -> str:
    """Return a process's start; empty where it is missing, or dead but not reaped.

    The kernel's own count, not psutil's time of day: that moves with the machine's clock.
    """
    if Path("/proc/self/stat").exists():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return ""
        state, start = fields[0], fields[19]
        return "" if state in "ZX" else start
    # Without /proc only use of the pid can be checked.
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "?"
