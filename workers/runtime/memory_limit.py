"""How much memory a gpu worker may use on the machine that it runs on. Reads files, never a model."""

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


def memory_limit() -> int:
    """Bytes that this process may use: the least of its container's limits, and of what the machine has."""
    return min([machine_bytes(), *cgroup_limits()])


def machine_bytes() -> int:
    """The machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def cgroup_limits(own: Path = OWN_CGROUP, root: Path = CGROUP) -> list[int]:
    """The limits of this process's control group and of those that it stands in, of version 2 or 1; empty where there is none."""
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
    """Of a group and of all above it: a limit further up holds for it, too. In a container its own group is the root."""
    group = Path(path.lstrip("/"))
    found = [_read(root / each / name) for each in (group, *group.parents)]
    return [limit for limit in found if limit is not None]


def _read(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None  # `max`: no limit
