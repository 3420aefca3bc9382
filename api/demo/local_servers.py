"""Private PostgreSQL and Redis servers of this machine's own binaries: for `glossator demo --cluster`, and for tests.

Each listens on loopback with a password of its own, keeps its data in one folder, and ends with the process that started it.
"""

import os
import pwd
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from functools import cache
from pathlib import Path
from typing import Any, Self

import psycopg
import redis

from api.demo.child_guard import ChildGuard
from interp.domain.errors import ServerMissingError, ServerUnreachableError

POSTGRES_FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin", "/usr/local/opt/postgresql@*/bin")
REDIS_PROGRAMS = ("redis-server", "valkey-server")
# Servers that refuse root, or need no rights, run as the first of these that the machine has.
UNPRIVILEGED = ("postgres", "redis", "nobody")
START_SECONDS, STOP_SECONDS, POLL_SECONDS = 60.0, 30.0, 0.05
# Below the range that the kernel gives to clients: while a server is away, a client that tries again could else be given
# the very port that it calls, and would be talking to itself.
PORTS = range(20000, 32000)
LOG_LINES = 5


class LocalServer(ABC):
    """A server process of one port and one folder. As a context it runs from start to end.

    `start` and `stop` may be called in turn, by any signal in between: the port, the password and the data stay.
    With no `folder` given it makes one and removes it at the end.
    """

    program = ""
    gentle = signal.SIGTERM

    def __init__(self, folder: Path | None = None) -> None:
        """Raises ServerMissing where the machine has no such server, ServerUnreachable where the folder cannot be used."""
        self._command = self.find()
        self._own_folder = folder is None
        self.folder = (folder or Path(tempfile.mkdtemp(prefix=f"glossator-{self.program}-"))).resolve()
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: ChildGuard | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """What clients connect to, with its password."""

    @property
    def pid(self) -> int:
        """The process that a signal goes to. Raises ServerUnreachable where none runs."""
        if self._process is None:
            raise ServerUnreachableError(f"The private {self.program} does not run.", cure="Call `start()`.")
        return self._process.pid

    def start(self) -> None:
        """Returns when the server answers. Raises ServerUnreachable with the end of its log."""
        deadline = time.monotonic() + START_SECONDS
        self._claim_folder()
        self._prepare()
        self._spawn()
        while not self._answers():
            if time.monotonic() > deadline or (self._has_ended() and not self._may_start_later()):
                log = self._log.read_text(errors="replace").splitlines()[-LOG_LINES:]
                self.stop(signal.SIGKILL)
                raise ServerUnreachableError(
                    f"The private {self.program} in {self.folder} did not start.", why=" ".join(log), cure="See its log there."
                )
            if self._has_ended():
                self._spawn()
            time.sleep(POLL_SECONDS)

    def stop(self, by: signal.Signals | None = None) -> None:
        """Ends the server by a signal, its gentle one when none is named, and waits until it is gone. Does nothing where none runs."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(by or self.gentle)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
        self._unguard()

    def restart(self, by: signal.Signals | None = None) -> None:
        """Stops and starts on the same port and data."""
        self.stop(by)
        self.start()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._forget_folder()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._forget_folder()

    @classmethod
    @abstractmethod
    def find(cls) -> Path:
        """The server's program on this machine. Raises ServerMissing."""

    @abstractmethod
    def _prepare(self) -> None:
        """Whatever the folder needs before the first start."""

    @abstractmethod
    def _arguments(self) -> list[str]: ...

    @abstractmethod
    def _answers(self) -> bool: ...

    def _has_ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def _may_start_later(self) -> bool:
        """Whether a process that ended at once may come up when it is tried again."""
        return False

    @property
    def _secret(self) -> Path:
        return self.folder / "password"

    @property
    def _log(self) -> Path:
        return self.folder / "server.log"

    def _spawn(self) -> None:
        self._unguard()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(self._command), *self._arguments()], stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0, **self._as_user()
            )
        self._guard = ChildGuard(self._process.pid, self.gentle, self.folder if self._own_folder else None)

    def _unguard(self) -> None:
        if self._guard is not None:
            self._guard.release()
            self._guard = None

    def _as_user(self) -> dict[str, Any]:
        """Arguments of Popen: a folder that the user may stand in and, for root, somebody else."""
        options: dict[str, Any] = {"cwd": self.folder}
        user = unprivileged()
        return options if user is None else options | {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def _claim_folder(self) -> None:
        """The folder, there and owned by whom the server runs as."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        user = unprivileged()
        if user is not None:
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        if subprocess.run(["test", "-w", str(self.folder)], **self._as_user()).returncode != 0:
            raise ServerUnreachableError(
                f"The private {self.program} cannot use {self.folder}.",
                why=f"It runs as {user.pw_name if user else 'you'}, who may not enter or write there.",
                cure="Give it a folder below /tmp, or run as a plain user.",
            )
        if not self._secret.exists():
            self._write(self._secret, secrets.token_hex(16))

    @property
    def _password(self) -> str:
        """It stands in a file beside the data that it opens: the arguments of a process are everybody's to read."""
        return self._secret.read_text()

    def _write(self, file: Path, text: str) -> None:
        """A file for the server's eyes alone."""
        file.touch(mode=0o600)
        file.write_text(text)
        user = unprivileged()
        if user is not None:
            os.chown(file, user.pw_uid, user.pw_gid)

    def _forget_folder(self) -> None:
        if self._own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)


class LocalPostgres(LocalServer):
    """PostgreSQL with one empty database. SIGINT, the gentle signal, is its fast shutdown; after SIGKILL it recovers from its log."""

    program = "postgresql"
    gentle = signal.SIGINT
    user = "glossator"

    @property
    def url(self) -> str:
        """A SQLAlchemy URL of the `postgres` database; its user may make others."""
        return f"postgresql+psycopg://{self.user}:{self._password}@127.0.0.1:{self.port}/postgres"

    @classmethod
    def find(cls) -> Path:
        """The newest `postgres` of this machine that has `initdb` beside it, the one on the PATH first."""
        on_path = shutil.which("postgres")
        folders = (folder for pattern in POSTGRES_FOLDERS for folder in Path("/").glob(pattern.removeprefix("/")))
        candidates = [Path(on_path).resolve()] if on_path else []
        candidates += sorted((folder / "postgres" for folder in folders), key=_version, reverse=True)
        found = next((program for program in candidates if program.exists() and program.with_name("initdb").exists()), None)
        if found is None:
            why = f"There is no `postgres` with `initdb` on the PATH, nor in {', '.join(POSTGRES_FOLDERS)}."
            raise ServerMissingError("PostgreSQL is not installed.", why=why, cure="Debian: apt install postgresql. Or name a server by its URL.")
        return found

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _prepare(self) -> None:
        if (self._data / "PG_VERSION").exists():
            return
        command = [str(self._command.with_name("initdb")), "--no-sync", "--no-locale", "--encoding=UTF8", "--auth=scram-sha-256"]
        command += [f"--username={self.user}", f"--pwfile={self._secret}", str(self._data)]
        done = subprocess.run(command, capture_output=True, **self._as_user())
        if done.returncode != 0:
            why = done.stderr.decode(errors="replace").strip()
            raise ServerUnreachableError(f"initdb failed in {self.folder}.", why=why, cure="Check the installation of PostgreSQL, and the disk.")

    def _arguments(self) -> list[str]:
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "200",
            # The data is thrown away in the end; that no commit is lost when a process is killed needs no fsync.
            "fsync": "off",
            "full_page_writes": "off",
        }
        return ["-D", str(self._data), *(word for name, value in options.items() for word in ("-c", f"{name}={value}"))]

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self.url.replace("+psycopg", ""), connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False

    def _may_start_later(self) -> bool:
        """Processes of a killed server still hold its shared memory, for a moment."""
        return "still in use" in self._log.read_text(errors="replace")


class LocalRedis(LocalServer):
    """Redis as Debian installs it: what it holds is written when it is stopped gently, and lost by SIGKILL."""

    program = "redis"

    @property
    def url(self) -> str:
        """A broker URL of database 0, one of 16."""
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    @classmethod
    def find(cls) -> Path:
        """Redis, or Valkey."""
        found = next((path for path in map(shutil.which, REDIS_PROGRAMS) if path), None)
        if found is None:
            why = f"There is neither of {', '.join(REDIS_PROGRAMS)} on the PATH."
            raise ServerMissingError("Redis is not installed.", why=why, cure="Debian: apt install redis-server. Or name a server by its URL.")
        return Path(found)

    def _prepare(self) -> None:
        lines = ("bind 127.0.0.1", f"port {self.port}", f"requirepass {self._password}", f"dir {self.folder}", "save 3600 1", "daemonize no")
        self._write(self.folder / "redis.conf", "\n".join(lines) + "\n")

    def _arguments(self) -> list[str]:
        return [str(self.folder / "redis.conf")]

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, socket_timeout=2) as connection:
                return bool(connection.ping())
        except redis.RedisError:
            return False


@cache
def unprivileged() -> pwd.struct_passwd | None:
    """Whom servers run as when this process is root; None for anybody else."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    found = next((known[name] for name in UNPRIVILEGED if name in known), None)
    if found is None:
        raise ServerMissingError(
            "PostgreSQL does not run as root.", why=f"None of {', '.join(UNPRIVILEGED)} is a user here.", cure="Run as a plain user."
        )
    return found


def free_port() -> int:
    """A port of loopback that nothing listens on."""
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServerUnreachableError("No port is free.", why=f"All of {PORTS.start} to {PORTS.stop - 1} are taken.", cure="Stop what listens there.")


def _version(program: Path) -> tuple[int, ...]:
    """The numbers in the program's folder: 16 is newer than 9.6."""
    return tuple(int(word) for word in "".join(character if character.isdigit() else " " for character in str(program)).split())
