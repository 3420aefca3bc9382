"""How much memory a piece of work takes at its peak, in this process."""

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MIB = 1 << 20


class Peak:
    """`mib`: resident memory at the peak less that of the beginning, once the block is over."""

    mib = 0.0


@contextmanager
def peak() -> Iterator[Peak]:
    """Measures the block. Where Linux' own peak cannot be set back, only what goes beyond the process's peak so far is seen."""
    found = Peak()
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        before = _highest()
        yield found
    else:
        before = _status("VmRSS")
        yield found
    found.mib = ((_status("VmHWM") or _highest()) - before) / MIB


def _status(name: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def _highest() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
