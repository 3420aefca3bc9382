"""Private PostgreSQL and Redis servers of this machine's own binaries: for `glossator demo --cluster`, and for tests.

Each listens on loopback with a password of its own, keeps its data in one folder, and ends with the process that started it. Wheels that carry
PostgreSQL lack pg_trgm, which listings are searched by.
"""

import os
import pwd
import random
import re
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
from typing import Any, ClassVar, Self

import psycopg
import redis

from api.demo.child_guard import ChildGuard
from interp.domain.errors import ServerMissingError, ServerUnreachableError

POSTGRES_FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin", "/usr/local/opt/postgresql@*/bin")
REDIS_PROGRAMS = ("redis-server", "valkey-server")
# Servers that refuse root, or need no rights, run as the first of these users that the machine has.
UNPRIVILEGED = ("postgres", "redis", "nobody")
START_SECONDS, STOP_SECONDS, POLL_SECONDS = 60.0, 30.0, 0.05
# Below the range that the kernel gives to clients: while a server is away, a client that tries again could else be given
# the very port that it calls, and would be talking to itself.
PORTS = range(20000, 32000)
LOG_LINES = 5


class LocalServer(ABC):
    """A server process of one port and one folder. As a context it runs from start to end.

    `start` and `stop` may be called in turn, by any signal: the port, the password and the data stay. Without a `folder` a temporary one is
    used. `gentle` is the signal for a shutdown that loses nothing.
    """

    program: ClassVar[str]
    gentle: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, folder: Path | None = None) -> None:
        """Raise ServerMissingError where the machine has no such server."""
        self._command = self.find()
        self._is_temporary = folder is None
        self.folder = (folder or Path(tempfile.mkdtemp(prefix=f"glossator-{self.program}-"))).resolve()
        self.port = free_port()
        self._secret, self._log = self.folder / "password", self.folder / "server.log"
        # A folder that the user may stand in and, for root, another user.
        user = unprivileged()
        self._options: dict[str, Any] = {"cwd": self.folder}
        if user is not None:
            self._options |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: ChildGuard | None = None

    @classmethod
    @abstractmethod
    def find(cls) -> Path:
        """Return the server's program on this machine. Raises ServerMissingError."""

    @property
    @abstractmethod
    def url(self) -> str:
        """What clients connect to, with its password."""

    @abstractmethod
    def _prepare(self) -> None:
        """Make what the folder needs before a start."""

    @abstractmethod
    def _arguments(self) -> list[str]: ...

    @abstractmethod
    def _answers(self) -> bool: ...

    @property
    def pid(self) -> int:
        """The process that a signal goes to. Raises ServerUnreachableError where none runs."""
        if self._process is None:
            raise ServerUnreachableError(f"The private {self.program} does not run.", cure="Call `start()`.")
        return self._process.pid

    def start(self) -> None:
        """Return when the server answers. Raises ServerUnreachableError with the end of its log."""
        deadline = time.monotonic() + START_SECONDS
        self._claim_folder()
        self._prepare()
        process = self._spawn()
        while not self._answers():
            log = self._log.read_text(errors="replace")
            # PostgreSQL's processes hold the shared memory of a killed server for a moment.
            if process.poll() is not None and "still in use" in log and time.monotonic() < deadline:
                process = self._spawn()
            elif process.poll() is not None or time.monotonic() > deadline:
                self.stop(signal.SIGKILL)
                raise ServerUnreachableError(
                    f"The private {self.program} in {self.folder} did not start.",
                    why=" ".join(log.splitlines()[-LOG_LINES:]),
                    cure="See its log there.",
                )
            time.sleep(POLL_SECONDS)

    def stop(self, by: signal.Signals | None = None) -> None:
        """End the server by a signal, `gentle` when none is named, and wait until it is gone. Does nothing where none runs."""
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
        self._release_guard()

    def restart(self, by: signal.Signals | None = None) -> None:
        """Stop, and start on the same port and data."""
        self.stop(by)
        self.start()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._remove_folder()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._remove_folder()

    def _spawn(self) -> "subprocess.Popen[bytes]":
        self._release_guard()
        with self._log.open("wb") as log:
            command = [str(self._command), *self._arguments()]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0, **self._options)
        self._guard = ChildGuard(self._process.pid, self.gentle, self.folder if self._is_temporary else None)
        return self._process

    def _release_guard(self) -> None:
        if self._guard is not None:
            self._guard.release()
            self._guard = None

    def _claim_folder(self) -> None:
        """Make the folder and the password; both belong to the user that the server runs as."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        _give_to_server(self.folder)
        if subprocess.run(["test", "-w", str(self.folder)], **self._options).returncode != 0:
            user = unprivileged()
            raise ServerUnreachableError(
                f"The private {self.program} cannot use {self.folder}.",
                why=f"It runs as {user.pw_name if user else 'you'}, who may not enter or write there.",
                cure="Give it a folder below /tmp, or run as a plain user.",
            )
        if not self._secret.exists():
            self._write(self._secret, secrets.token_hex(16))

    @property
    def _password(self) -> str:
        """Kept in a file beside the data: the arguments of a process are readable for everyone."""
        return self._secret.read_text()

    def _write(self, file: Path, text: str) -> None:
        """Write a file that the server alone may read."""
        file.touch(mode=0o600)
        file.write_text(text)
        _give_to_server(file)

    def _remove_folder(self) -> None:
        if self._is_temporary:
            shutil.rmtree(self.folder, ignore_errors=True)


class LocalPostgres(LocalServer):
    """PostgreSQL with one empty database. SIGINT, the gentle signal, is its fast shutdown; after SIGKILL it recovers from its log."""

    program = "postgresql"
    gentle = signal.SIGINT
    user = "glossator"

    @property
    def url(self) -> str:
        """A SQLAlchemy URL of the `postgres` database; its user may create others."""
        return f"postgresql+psycopg://{self.user}:{self._password}@127.0.0.1:{self.port}/postgres"

    @classmethod
    def find(cls) -> Path:
        """Return the `postgres` on the PATH, else the newest of this machine, that has `initdb` beside it."""
        on_path = shutil.which("postgres")
        installed = [folder / "postgres" for pattern in POSTGRES_FOLDERS for folder in Path("/").glob(pattern.removeprefix("/"))]
        # By the numbers in the path: 16 is newer than 9.6.
        installed.sort(key=lambda program: [int(number) for number in re.findall(r"\d+", str(program))], reverse=True)
        for program in [*([Path(on_path).resolve()] if on_path else []), *installed]:
            if program.exists() and program.with_name("initdb").exists():
                return program
        why = f"There is no `postgres` with `initdb` on the PATH, nor in {', '.join(POSTGRES_FOLDERS)}."
        raise ServerMissingError("PostgreSQL is not installed.", why=why, cure="Debian: apt install postgresql. Or name a server by its URL.")

    def _prepare(self) -> None:
        data = self.folder / "data"
        if (data / "PG_VERSION").exists():
            return
        command = [str(self._command.with_name("initdb")), "--no-sync", "--no-locale", "--encoding=UTF8", "--auth=scram-sha-256"]
        done = subprocess.run([*command, f"--username={self.user}", f"--pwfile={self._secret}", str(data)], capture_output=True, **self._options)
        if done.returncode != 0:
            why = done.stderr.decode(errors="replace").strip()
            raise ServerUnreachableError(f"initdb failed in {self.folder}.", why=why, cure="Check the installation of PostgreSQL, and the disk.")

    def _arguments(self) -> list[str]:
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "200",
            # The data is deleted in the end; that no commit is lost when a process is killed needs no fsync.
            "fsync": "off",
            "full_page_writes": "off",
        }
        return ["-D", str(self.folder / "data"), *(word for name, value in options.items() for word in ("-c", f"{name}={value}"))]

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self.url.replace("+psycopg", ""), connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False


class LocalRedis(LocalServer):
    """Redis as Debian installs it: what it holds is written when it is stopped gently, and lost by SIGKILL."""

    program = "redis"

    @property
    def url(self) -> str:
        """A broker URL of database 0, one of 16."""
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    @classmethod
    def find(cls) -> Path:
        """Return the program of Redis, or of Valkey."""
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
    """Return the user that servers run as when this process is root; None for any other user."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    for name in UNPRIVILEGED:
        if name in known:
            return known[name]
    why = f"None of {', '.join(UNPRIVILEGED)} is a user here."
    raise ServerMissingError("PostgreSQL does not run as root.", why=why, cure="Run as a plain user.")


def free_port() -> int:
    """Return a port of loopback that nothing listens on."""
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServerUnreachableError("No port is free.", why=f"All of {PORTS.start} to {PORTS.stop - 1} are taken.", cure="Stop what listens there.")


def _give_to_server(path: Path) -> None:
    user = unprivileged()
    if user is not None:
        os.chown(path, user.pw_uid, user.pw_gid)
