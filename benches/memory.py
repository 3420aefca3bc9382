"""Measure the peak resident memory of this process, once per part of a benchmark."""

import re
import resource
import sys
from pathlib import Path

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def reset_peak() -> None:
    """Forgets the peak so far. Linux alone can; elsewhere the peak stays that of the whole process."""
    if RESET.exists():
        RESET.write_text("5", encoding="ascii")


def peak_rss_mb(now: bool = False) -> float:
    """Megabytes (10^6) at the peak since `reset_peak`, or at this moment."""
    if STATUS.exists():
        found = re.search(rf"{'VmRSS' if now else 'VmHWM'}:\s+(\d+) kB", STATUS.read_text(encoding="ascii"))
        if found:
            return int(found.group(1)) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
