"""Atomic writes: a draft under another name is renamed once it is complete.

The writer of a draft holds a lock on it, which ends with the process, so an unlocked draft is abandoned.
"""

import errno
import fcntl
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from interp.domain.errors import DiskFullError, GlossatorError

# A draft is created before it is locked, and network disks may ignore locks: a draft that was written to since is not abandoned.
YOUNG_SECONDS = 3600.0
FULL = (errno.ENOSPC, errno.EDQUOT)
# Messages of libraries without an error number: Rust's standard library, numpy's tofile, SQLite.
FULL_WORDS = re.compile(r"no space left on device|disk quota exceeded|\d+ requested and \d+ written|database or disk is full", re.IGNORECASE)
DRAFT = re.compile(r"\..+\.\d+\.[0-9a-f]{8}")


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Make a temporary folder, which is renamed `target` on success and deleted otherwise; raises DiskFullError.

    An existing `target`, of another process with the same content, remains.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = _draft_of(target)
    try:
        with disk_full(target):
            draft.mkdir()
            with _held(draft, os.O_RDONLY):
                yield draft
                for path in draft.rglob("*"):
                    if path.is_file():
                        sync(path)
                try:
                    draft.rename(target)
                except OSError as error:
                    if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                        raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """Make an empty file to be renamed `target`, deleted otherwise; raises DiskFullError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = _draft_of(target)
    try:
        with disk_full(target), _held(draft, os.O_RDWR | os.O_CREAT):
            yield draft
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Make a temporary folder, deleted at the end; raises DiskFullError."""
    parent.mkdir(parents=True, exist_ok=True)
    draft = _draft_of(parent / "scratch")
    try:
        with disk_full(parent):
            draft.mkdir()
            with _held(draft, os.O_RDONLY):
                yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def clear_drafts(folder: Path) -> int:
    """Delete the abandoned (unlocked) drafts in a folder, and return their number."""
    abandoned = [path for path in folder.glob(".*") if DRAFT.fullmatch(path.name) and _is_abandoned(path)]
    for path in abandoned:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(abandoned)


@contextmanager
def writing(target: Path) -> Iterator[BinaryIO]:
    """Open a new binary file for writing, as all files of the product; raises DiskFullError.

    Write arrays as buffers (`file.write(array.data)`): numpy's own `tofile` raises an OSError without a number on a full disk.
    """
    with disk_full(target), target.open("wb") as file:
        yield file


@contextmanager
def disk_full(target: Path) -> Iterator[None]:
    """Turn any library's error of a full disk into DiskFullError with the file's name."""
    try:
        yield
    except GlossatorError:
        raise
    except Exception as error:  # each library has its own errors, and all mean the same here
        has_number = isinstance(error, OSError) and error.errno is not None
        if not is_full(error) and (has_number or has_room(target)):
            raise
        raise DiskFullError(
            f"Writing {target} failed.",
            why="The disk is full, or its quota is used up.",
            cure="Free some space: the job goes on by itself. Or set GLOSSATOR_HOME to a folder on another disk.",
        ) from error


def is_full(error: BaseException | None) -> bool:
    """Return whether an error or its cause reports a full disk or quota."""
    while error is not None and not isinstance(error, GlossatorError):
        if (isinstance(error, OSError) and error.errno in FULL) or FULL_WORDS.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def has_room(target: Path) -> bool:
    """Return whether the disk of `target` has a free block, or does not say."""
    try:
        found = os.statvfs(nearest_existing(target.absolute()))
    except OSError:
        return True
    return found.f_blocks == 0 or (found.f_bavail if os.geteuid() else found.f_bfree) > 0


def nearest_existing(path: Path) -> Path:
    """Return the path, or its nearest existing parent."""
    # Not Path.exists, which raises for parents that may not be entered.
    return next(candidate for candidate in (path, *path.parents) if os.path.exists(candidate))  # noqa: PTH110


def is_writable(folder: Path) -> bool:
    """Return whether files can be written to the folder, once it is made."""
    nearest = nearest_existing(folder)
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def _draft_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}")


@contextmanager
def _held(draft: Path, flags: int) -> Iterator[None]:
    """Open the draft and lock it; without locks on the disk, no draft is abandoned."""
    descriptor = os.open(draft, flags, 0o666)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _is_abandoned(draft: Path) -> bool:
    try:
        if time.time() - max(path.stat().st_mtime for path in (draft, *draft.glob("*"))) < YOUNG_SECONDS:
            return False
        descriptor = os.open(draft, os.O_RDONLY if draft.is_dir() else os.O_RDWR)
    except OSError:  # deleted since
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # locked, or on a disk without locks
        return False
    finally:
        os.close(descriptor)
    return True


def sync(path: Path) -> None:
    """Wait until the content of a file is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
