"""Disks that can be filled: small file systems in memory, mounted for one cluster."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

BLOCK = 64 * 1024


@dataclass(frozen=True)
class Disk:
    """A file system of its own at `path`."""

    path: Path

    @contextmanager
    def full(self) -> Iterator[None]:
        """Not a byte is left until the block ends."""
        ballast = self.path / "ballast"
        try:
            with ballast.open("wb", buffering=0) as file:
                for size in (BLOCK, 1):
                    _fill(file.fileno(), size)
            yield
        finally:
            ballast.unlink(missing_ok=True)


@contextmanager
def disk(path: Path, megabytes: int) -> Iterator[Disk | None]:
    """A disk of that size, or None where nobody may mount one: that takes root."""
    path.mkdir(parents=True, exist_ok=True)
    options = f"size={megabytes}m,mode=0755"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "glossator-faults", str(path)], capture_output=True).returncode != 0:
        yield None
        return
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def _fill(file: int, size: int) -> None:
    data = b"\0" * size
    while True:
        try:
            if os.write(file, data) < size:
                return
        except OSError:
            return
