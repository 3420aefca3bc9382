"""The service's home folder: whether it can be used, and which server uses it."""

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from interp.domain.errors import DiskFullError, GlossatorError, HomeTakenError, HomeUnusableError
from interp.files.atomic import is_full, nearest_existing

LOCK = "server.lock"
# Bytes that a transaction of the embedded database may need.
MIN_FREE_BYTES = 16 * 1024**2
PROBE = b"\0" * 65_536
CURE = "Set GLOSSATOR_HOME to a folder in which this user may write."


@dataclass(frozen=True, slots=True)
class Occupant:
    """Describe the server that uses a home. `url` is empty until it listens."""

    pid: int
    url: str = ""


class HomeLock:
    """Lock a home for one server: a file lock, which the kernel releases however the process ends."""

    def __init__(self, home: Path) -> None:
        """Take the lock. Raises HomeUnusableError, and HomeTakenError where another server has the home."""
        make_home(home)
        self._home = home
        try:
            self._file = os.open(home / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise HomeUnusableError(f"{home / LOCK} cannot be written.", why=error.strerror or str(error), cure=CURE) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            raise _taken(home) from None
        except OSError:
            pass  # a disk that has no locks: two servers cannot be told apart there
        self._write(Occupant(os.getpid()))

    def name(self, url: str) -> None:
        """Record where the server listens, for errors of other servers."""
        self._write(Occupant(os.getpid(), url))

    def release(self) -> None:
        """Release the lock. The file stays: removing it would let two servers lock two files of one name."""
        if self._file >= 0:
            with suppress(OSError):
                os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = -1

    def _write(self, occupant: Occupant) -> None:
        content = json.dumps({"pid": occupant.pid, "url": occupant.url}).encode()
        try:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, content, 0)
        except OSError as error:
            self.release()
            if is_full(error):
                raise full(self._home) from error
            raise HomeUnusableError(f"{self._home / LOCK} cannot be written.", why=error.strerror or str(error), cure=CURE) from error


def occupant(home: Path) -> Occupant | None:
    """Return the server that uses the home now, None where none does. Changes nothing."""
    try:
        file = os.open(home / LOCK, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(file)
    except OSError:
        return None
    finally:
        os.close(file)
    return None


def make_home(home: Path) -> None:
    """Create the folder if need be, and test that it can be written to. Raises HomeUnusableError, DiskFullError."""
    if misformed := _form_fault(home):
        raise misformed
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if is_full(error):
            raise full(home) from error
        raise HomeUnusableError(f"The folder {home} cannot be made.", why=error.strerror or str(error), cure=CURE) from error
    if fault := write_fault(home):
        raise fault


def check_readable(home: Path) -> None:
    """Raise HomeUnusableError for a home that is no folder, or that this user may not read. A missing one is fine."""
    if fault := _form_fault(home):
        raise fault
    nearest = nearest_existing(home)
    if not os.access(nearest, os.R_OK | os.X_OK if nearest == home else os.X_OK):
        raise HomeUnusableError(f"The folder {home} cannot be read.", why=f"This user has no right to {nearest}.", cure="Set GLOSSATOR_HOME.")


def write_fault(folder: Path) -> GlossatorError | None:
    """Return what stops this process from writing to an existing folder: rights, a full disk, a quota. The test file has no name."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(PROBE)
            file.flush()
    except OSError as error:
        if is_full(error):
            return full(folder)
        return HomeUnusableError(f"{folder} cannot be written to.", why=error.strerror or str(error), cure=CURE)
    found = os.statvfs(folder)
    # File systems that count no blocks report 0 of 0.
    if found.f_blocks and found.f_bavail * found.f_frsize < MIN_FREE_BYTES:
        return full(folder)
    return None


def full(folder: Path) -> DiskFullError:
    """Return the error of a folder whose disk is full."""
    return DiskFullError(
        f"The disk of {folder} is full.",
        why=f"Less than {MIN_FREE_BYTES // 1024**2} MiB can be written there, or a quota is used up.",
        cure="Free some space, or set GLOSSATOR_HOME to a folder on another disk.",
    )


@contextmanager
def held(home: Path) -> Iterator[HomeLock]:
    """Lock the home for as long as the block lasts."""
    lock = HomeLock(home)
    try:
        yield lock
    finally:
        lock.release()


def _form_fault(home: Path) -> HomeUnusableError | None:
    for path in (home, *home.parents):
        if os.path.lexists(path) and not path.is_dir():
            return HomeUnusableError(f"{home} is no folder.", why=f"{path} is a file.", cure=CURE)
    return None


def _taken(home: Path) -> HomeTakenError:
    try:
        file = os.open(home / LOCK, os.O_RDONLY)
        try:
            found = _read(file)
        finally:
            os.close(file)
    except OSError:
        found = Occupant(0)
    where = f"listens at {found.url}" if found.url else "is starting"
    return HomeTakenError(
        f"Another server uses {home}.",
        why=f"Process {found.pid} {where}." if found.pid else f"A process of this machine {where}.",
        cure="Use that one, stop it, or give this one a home of its own (GLOSSATOR_HOME).",
        pid=found.pid,
        url=found.url,
    )


def _read(file: int) -> Occupant:
    """Read what the server recorded; it may be writing just now."""
    try:
        content = json.loads(os.pread(file, 4096, 0))
        return Occupant(int(content["pid"]), str(content["url"]))
    except (ValueError, KeyError, TypeError):
        return Occupant(0)
