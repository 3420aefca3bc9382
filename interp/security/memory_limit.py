"""Limit on the memory that a block of code may add to this process."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def adding_at_most(nbytes: int) -> Iterator[None]:
    """Make the block raise MemoryError where it adds more bytes to this process.

    The limit is the process's own (RLIMIT_DATA), so blocks are short, and no two run at once. A lower limit stays.
    """
    before, most = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = _data_bytes() + nbytes
    known = [limit for limit in (before, most, wanted) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(known), most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (before, most))


def _data_bytes() -> int:
    """Return the bytes of this process that count against the limit."""
    try:
        pages = Path("/proc/self/statm").read_bytes().split()[5]
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return int(pages) * resource.getpagesize()
