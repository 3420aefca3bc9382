"""Writing what must never be seen half-made: under another name first, then renamed."""

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from interp.errors import DiskFull


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target` that takes its name when the block ends well, and vanishes otherwise.

    Where `target` exists already (another process was first with the same content) that one stays. Raises DiskFull.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
    try:
        with disk_full(target):
            draft.mkdir()
            yield draft
            _sync(draft)
            try:
                draft.rename(target)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def disk_full(target: Path) -> Iterator[None]:
    """Turns "no space left" into DiskFull, naming what was being written."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFull(
            f"Writing {target} failed.",
            why="The disk is full, or its quota is used up.",
            cure="Free some space: the job goes on by itself. Or set GLOSSATOR_HOME to a folder on another disk.",
        ) from error


def nearest_existing(path: Path) -> Path:
    """The path itself, or the closest folder above it that is there."""
    return next(candidate for candidate in (path, *path.parents) if candidate.exists())


def is_writable(folder: Path) -> bool:
    """Whether files can be written to the folder, or the folder be made."""
    return os.access(nearest_existing(folder), os.W_OK)


def _sync(folder: Path) -> None:
    for path in folder.iterdir():
        with path.open("rb") as handle:
            os.fsync(handle.fileno())
