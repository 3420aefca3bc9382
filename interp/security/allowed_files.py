"""Files that users name, opened only as regular files inside the allowed roots.

A path is resolved, compared with the roots, and then opened component by component from its root without following links, so that no change in
between redirects it. All files of subjects, dictionaries and corpora are opened here; the roots are those of the enclosing `within`, else those of
the process's settings.
"""

import hashlib
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from errno import ENOENT
from functools import cache, lru_cache
from io import BufferedReader, FileIO
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from interp.config.settings import Settings, settings
from interp.domain.errors import InputError, NotRegularFileError, PathRefusedError, ReadingTooLongError

# System folders, which are never read, whatever the roots.
SYSTEM = ("/proc", "/sys", "/dev")

# Largest number of files in a model's folder.
MOST_NAMES = 10_000

_FOLDER = os.O_DIRECTORY | os.O_CLOEXEC
_PASSING = _FOLDER | getattr(os, "O_PATH", os.O_RDONLY)
# The reader of a pipe without a writer would wait.
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Roots:
    """Real paths of readable and of forbidden folders; URLs of readable buckets.

    `uploads` is the folder of `interp.security.uploads`.
    """

    allowed: tuple[str, ...]
    denied: tuple[str, ...] = SYSTEM
    buckets: tuple[str, ...] = ()
    uploads: str = ""

    @classmethod
    def of(cls, found: Settings) -> "Roots":
        """Return the roots of the settings, without the service's own files."""
        return cls(
            tuple(map(os.path.realpath, found.allowed_roots)),
            (*SYSTEM, *map(os.path.realpath, found.own_paths)),
            found.buckets,
            str(found.uploads_folder),
        )

    def permit(self, real: str) -> bool:
        """Return whether a resolved path is inside."""
        return any(_is_below(real, root) for root in self.allowed) and not any(_is_below(real, tree) for tree in self.denied)

    def permit_url(self, url: str) -> bool:
        """Return whether a URL is a named bucket, or lies below one, without steps up.

        fsspec takes `::` for a chain of URLs, of which only the first would be checked here.
        """
        below = any(f"{url.rstrip('/')}/".startswith(f"{bucket.rstrip('/')}/") for bucket in self.buckets)
        return below and "::" not in url and not {".", ".."} & set(url.split("/"))

    def permit_path(self, path: str | os.PathLike[str]) -> bool:
        """Return whether the resolved path is inside; it need not exist."""
        real = _resolved(path)
        return real is not None and self.permit(real)

    def resolve(self, path: str | os.PathLike[str]) -> str:
        """Return the path without links; raises PathRefusedError outside, FileNotFoundError for invalid names."""
        real = _resolved(path)
        if real is None:
            raise FileNotFoundError(ENOENT, os.strerror(ENOENT))
        if not self.permit(real):
            raise refused(path)
        return real

    def open_file(self, path: str | os.PathLike[str]) -> BufferedReader:
        """Open a regular file without waiting; raises PathRefusedError, NotRegularFileError and `open`'s OSError."""
        real = self.resolve(path)
        with self._parent(real) as (folder, name):
            # Checked first, since opening a device can have effects.
            if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                raise not_regular(path)
            handle: BufferedReader = BufferedReader(_Charged(os.open(name, _FILE, dir_fd=folder)))
        if not stat.S_ISREG(os.fstat(handle.fileno()).st_mode):
            handle.close()
            raise not_regular(path)
        return handle

    @contextmanager
    def open_folder(self, path: str | os.PathLike[str]) -> Iterator[int]:
        """Open a folder for `os.scandir` and `dir_fd`; raises PathRefusedError and OSError."""
        with self._parent(self.resolve(path)) as (folder, name):
            found = os.open(name, _FOLDER | os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
        try:
            yield found
        finally:
            os.close(found)

    def status(self, path: str | os.PathLike[str]) -> os.stat_result:
        """Return `os.stat`; raises PathRefusedError, and OSError for a missing path."""
        with self._parent(self.resolve(path)) as (folder, name):
            return os.stat(name, dir_fd=folder, follow_symlinks=False)

    @contextmanager
    def _parent(self, real: str) -> Iterator[tuple[int, str]]:
        """Yield the folder, opened from its root without following links, and the last name."""
        root = max((root for root in self.allowed if _is_below(real, root)), key=len)
        parts = [part for part in real[len(root) :].split("/") if part]
        if not parts:
            root, last = os.path.split(root)
            parts = [last or "."]
        folder = os.open(root, _PASSING)
        try:
            for part in parts[:-1]:
                inner = os.open(part, _PASSING | os.O_NOFOLLOW, dir_fd=folder)
                os.close(folder)
                folder = inner
            yield folder, parts[-1]
        finally:
            os.close(folder)


@dataclass(slots=True)
class Allowance:
    """Limit on the bytes and the time of reading a job's files before it starts."""

    seconds: float
    nbytes: int
    _until: float = field(init=False)
    _left: int = field(init=False)

    def __post_init__(self) -> None:
        self._until, self._left = time.monotonic() + self.seconds, self.nbytes

    def charge(self, nbytes: int) -> None:
        """Count bytes that were read; raises ReadingTooLongError."""
        self._left -= nbytes
        if self._left < 0 or time.monotonic() > self._until:
            raise ReadingTooLongError(
                "The job's files take too long to check.",
                why=f"A submission reads {self.nbytes} bytes at most, within {self.seconds:g} s.",
                cure="Submit it again when the disk is less busy, or raise GLOSSATOR_PREFLIGHT_TIMEOUT_SECONDS or GLOSSATOR_PREFLIGHT_MAX_BYTES.",
            )


_within: ContextVar[Roots | None] = ContextVar("roots", default=None)
_allowance: ContextVar[Allowance | None] = ContextVar("allowance", default=None)


@contextmanager
def within(roots: Roots) -> Iterator[None]:
    """Use these roots for this thread's reading in the block."""
    token = _within.set(roots)
    try:
        yield
    finally:
        _within.reset(token)


@contextmanager
def allowing(allowance: Allowance | None) -> Iterator[None]:
    """Count this thread's reading in the block, through files opened there, against the allowance."""
    token = _allowance.set(allowance)
    try:
        yield
    finally:
        _allowance.reset(token)


class _Charged(FileIO):
    """File whose bytes count against the allowance under which it was opened."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "rb")
        self._allowance = _allowance.get()

    def readinto(self, buffer: Any, /) -> int | None:
        return self._counted(super().readinto(buffer))

    def readall(self) -> bytes:
        content = super().readall()
        self._counted(len(content))
        return content

    def _counted(self, nbytes: int | None) -> int | None:
        if self._allowance is not None:
            self._allowance.charge(nbytes or 0)
        return nbytes


def current() -> Roots:
    """Return the roots of this thread."""
    return _within.get() or _of_this_process()


def open_file(path: str | os.PathLike[str]) -> BufferedReader:
    """Open a file within the current roots; see `Roots.open_file`."""
    return current().open_file(path)


def kind_of(path: str | os.PathLike[str]) -> Literal["file", "folder", "other", "nothing"]:
    """Return the kind of a path; raises PathRefusedError."""
    try:
        mode = current().status(path).st_mode
    except OSError:
        return "nothing"
    return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "other"


def is_file(path: str | os.PathLike[str]) -> bool:
    """Return whether a regular file exists; raises PathRefusedError, and NotRegularFileError for pipes and devices."""
    kind = kind_of(path)
    if kind == "other":
        raise not_regular(path)
    return kind == "file"


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Return whether a folder exists; raises PathRefusedError."""
    return kind_of(path) == "folder"


def names_in(folder: str | os.PathLike[str]) -> list[str]:
    """Return sorted names in a model's folder; raises PathRefusedError, and InputError for too many."""
    try:
        with current().open_folder(folder) as descriptor, os.scandir(descriptor) as entries:
            names = [entry.name for entry in islice(entries, MOST_NAMES + 1)]
    except OSError:
        return []
    if len(names) > MOST_NAMES:
        raise InputError(f"{os.fspath(folder)} holds more than {MOST_NAMES} files.", why="It is no model's folder.", cure="Check the path.")
    return sorted(names)


def check_folder(folder: Path) -> None:
    """Raise PathRefusedError or NotRegularFileError unless all entries are files and folders inside the roots."""
    for name in names_in(folder):
        if kind_of(folder / name) == "other":
            raise not_regular(folder / name)


def expand(text: str) -> str:
    """Expand a leading `~`; other users' homes would reveal which users exist."""
    return os.path.expanduser(text) if text == "~" or text.startswith("~/") else text  # noqa: PTH111 - Path.expanduser raises without a home


def bucket_refused(url: str) -> PathRefusedError:
    """Return the error for URLs outside the named buckets, whether they exist or not."""
    return PathRefusedError(
        f"{url} is not in a bucket that jobs may read.",
        why="Jobs read the buckets that the operator names.",
        cure="Add it to GLOSSATOR_BUCKETS where the server and its workers start.",
    )


def refused(path: str | os.PathLike[str]) -> PathRefusedError:
    """Return the error for paths outside, whether they exist or not."""
    return PathRefusedError(
        f"{os.fspath(path)} is not in a folder that jobs may read.",
        why="Jobs read files under the allowed roots alone; /proc, /sys, /dev and the service's own folder never.",
        cure="Move it under an allowed root, or add its folder to GLOSSATOR_ROOTS where the server and its workers start "
        f"(folders with {os.pathsep!r} between them).",
    )


def not_regular(path: str | os.PathLike[str]) -> NotRegularFileError:
    """Return the error for a pipe, a socket or a device."""
    return NotRegularFileError(
        f"{os.fspath(path)} is no regular file.", why="It is a named pipe, a socket or a device.", cure="Copy its content to a file, and name that."
    )


@cache
def _of_this_process() -> Roots:
    return Roots.of(settings())


def _is_below(real: str, root: str) -> bool:
    return real == root or real.startswith(root if root.endswith("/") else root + "/")


def _resolved(path: str | os.PathLike[str]) -> str | None:
    """Return the path without links; None for an invalid name."""
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return None


def file_digest(path: Path) -> str:
    """Return the sha256 of a file's content, cached by size and time of change."""
    status = current().status(path)
    return _file_digest(Path(current().resolve(path)), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4096)
def _file_digest(path: Path, size: int, changed_ns: int) -> str:  # noqa: ARG001
    with open_file(path) as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
