"""Home folder of the service: whether it is usable, and which server uses it."""

import fcntl
import json
import os
import socket
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from interp.domain.errors import DiskFullError, GlossatorError, HomeTakenError, HomeUnusableError
from interp.files.atomic import is_full, nearest_existing

LOCK = "server.lock"
# Bytes that a transaction of the embedded database may use.
MIN_FREE_BYTES = 16 * 1024**2
PROBE = b"\0" * 65_536
CURE = "Set GLOSSATOR_HOME to a folder in which this user may write."


@dataclass(frozen=True, slots=True)
class Occupant:
    """The server that uses a home; `url` is empty until it listens."""

    pid: int
    url: str = ""


class SharedHomeLock:
    """A lock on a home that processes of one machine share.

    A server excludes them, and they exclude a server.

    SQLite's file cannot be written by two machines, so a process of another machine is refused, where the disk tells of its locks.
    """

    def __init__(self, home: Path) -> None:
        """Take the lock.

        Raises HomeUnusableError, and HomeTakenError for a server or another machine.
        """
        make_home(home)
        self._files: list[int] = []
        try:
            self._take(home / LOCK, home)
            own = _host_lock(home, socket.gethostname())
            self._take(own, home)
            for other in sorted(home.glob(_host_lock(home, "*").name)):
                if other != own and _is_held(other):
                    raise HomeTakenError(
                        f"Another machine uses {home}.",
                        why="Its database is a file of SQLite, which machines cannot share.",
                        cure="Name a PostgreSQL database in GLOSSATOR_DATABASE_URL, or give this machine a home of its own (GLOSSATOR_HOME).",
                    )
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Release the lock, but keep its files, so that processes never lock different files."""
        while self._files:
            os.close(self._files.pop())

    def _take(self, path: Path, home: Path) -> None:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise _fault(home, f"{path} cannot be written.", error) from error
        self._files.append(file)
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _taken(home, _read(file)) from None
        except OSError:
            pass  # a disk without locks, where other processes cannot be detected


class HomeLock:
    """A server's lock on a home: a file lock, which ends with the process."""

    def __init__(self, home: Path) -> None:
        """Take the lock; raises HomeUnusableError, and HomeTakenError when another server has it."""
        make_home(home)
        self._home = home
        try:
            self._file = os.open(home / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise _fault(home, f"{home / LOCK} cannot be written.", error) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            found = _read(self._file)
            os.close(self._file)
            raise _taken(home, found) from None
        except OSError:
            pass  # a disk without locks, where other servers cannot be detected
        self._write(Occupant(os.getpid()))

    def name(self, url: str) -> None:
        """Record the server's URL, for errors of other servers."""
        self._write(Occupant(os.getpid(), url))

    def release(self) -> None:
        """Release the lock, but keep the file, so that servers never lock different files."""
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
            raise _fault(self._home, f"{self._home / LOCK} cannot be written.", error) from error


def occupant(home: Path) -> Occupant | None:
    """Return the server that uses the home now, or None, without side effects."""
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
    """Create the folder if missing, and test writing; raises HomeUnusableError and DiskFullError."""
    if misformed := _form_fault(home):
        raise misformed
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _fault(home, f"The folder {home} cannot be made.", error) from error
    if fault := write_fault(home):
        raise fault


def check_readable(home: Path) -> None:
    """Raise HomeUnusableError for an existing home that is not a readable folder."""
    if fault := _form_fault(home):
        raise fault
    nearest = nearest_existing(home)
    if not os.access(nearest, os.R_OK | os.X_OK if nearest == home else os.X_OK):
        raise HomeUnusableError(f"The folder {home} cannot be read.", why=f"This user has no right to {nearest}.", cure="Set GLOSSATOR_HOME.")


def write_fault(folder: Path) -> GlossatorError | None:
    """Return why a folder cannot be written to (rights, full disk, quota), or None."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(PROBE)
            file.flush()
    except OSError as error:
        return _fault(folder, f"{folder} cannot be written to.", error)
    found = os.statvfs(folder)
    # File systems that do not count blocks report 0 of 0.
    if found.f_blocks and found.f_bavail * found.f_frsize < MIN_FREE_BYTES:
        return full(folder)
    return None


def full(folder: Path) -> DiskFullError:
    return DiskFullError(
        f"The disk of {folder} is full.",
        why=f"Less than {MIN_FREE_BYTES // 1024**2} MiB can be written there, or a quota is used up.",
        cure="Free some space, or set GLOSSATOR_HOME to a folder on another disk.",
    )


def _fault(folder: Path, what: str, error: OSError) -> GlossatorError:
    return full(folder) if is_full(error) else HomeUnusableError(what, why=error.strerror or str(error), cure=CURE)


def _form_fault(home: Path) -> HomeUnusableError | None:
    for path in (home, *home.parents):
        if os.path.lexists(path) and not path.is_dir():
            return HomeUnusableError(f"{home} is no folder.", why=f"{path} is a file.", cure=CURE)
    return None


def _host_lock(home: Path, host: str) -> Path:
    return home / f"host-{host.replace('/', '_')}.lock"


def _is_held(path: Path) -> bool:
    """Return whether a process holds the lock; False where the disk does not tell."""
    try:
        file = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(file)
    return False


def _taken(home: Path, found: Occupant) -> HomeTakenError:
    where = f"listens at {found.url}" if found.url else "is starting, or runs a job (`glossator run`)"
    return HomeTakenError(
        f"Another server uses {home}." if found.pid else f"Another process uses {home}.",
        why=f"Process {found.pid} {where}." if found.pid else f"A process of this machine {where}.",
        cure="Use that one, stop it, or give this one a home of its own (GLOSSATOR_HOME).",
        pid=found.pid,
        url=found.url,
    )


def _read(file: int) -> Occupant:
    """Read the record of the server, which may be writing it now."""
    try:
        content = json.loads(os.pread(file, 4096, 0))
        return Occupant(int(content["pid"]), str(content["url"]))
    except (ValueError, KeyError, TypeError):
        return Occupant(0)
