"""Provide empty PostgreSQL and Redis databases for the demo and tests.

The server is the named one, else one that answers on the default local port, else a private one from installed binaries.
"""

import contextlib
import getpass
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

import redis

from api.demo.local_servers import LocalPostgres, LocalRedis, LocalServer
from interp.domain.errors import ServerUnreachableError
from interp.store.db.temporary_database import own_database

LEAST_REDIS = 7
REDIS_SECONDS = 5.0
# Redis has 16 databases by default; 0 is the clients' default.
REDIS_DATABASES = range(1, 16)
CLAIM = "glossator:taken-by"
CLAIM_SECONDS = 86_400


@dataclass(frozen=True)
class ServerKind:
    """A kind of server: default URLs, the private server, and how to create a database."""

    name: str
    local: tuple[str, ...]
    private: type[LocalServer]
    own: Callable[[str], AbstractContextManager[str]]


@dataclass(frozen=True)
class OwnServer:
    """The URL of a new database, and its server: `named`, `local` or `private`."""

    url: str
    where: str


@contextmanager
def own(kind: ServerKind, named: str = "") -> Iterator[OwnServer]:
    """Provide a new database on the first available server, for the duration of the block.

    Raises ServerUnreachableError if the named server provides none, and ServerMissingError if none is named, answers or is installed.
    """
    with ExitStack() as stack:
        yield _own(kind, named, stack)


def _own(kind: ServerKind, named: str, stack: ExitStack) -> OwnServer:
    if named:
        return OwnServer(stack.enter_context(kind.own(named)), "named")
    for url in kind.local:
        with contextlib.suppress(ServerUnreachableError):
            return OwnServer(stack.enter_context(kind.own(url)), "local")
    server = stack.enter_context(kind.private())
    return OwnServer(stack.enter_context(kind.own(server.url)), "private")


@contextmanager
def own_redis(server_url: str) -> Iterator[str]:
    """Provide the URL of an empty Redis database, which is emptied at the end.

    Raises ServerUnreachableError if no server answers, if it is too old, or if every database is in use.
    """
    try:
        number = _claim_database(server_url)
    except redis.RedisError as error:
        raise ServerUnreachableError(f"No Redis to use at {_shown(server_url)}.", why=str(error), cure="Name one that answers.") from error
    try:
        yield _with_database(server_url, number)
    finally:
        with contextlib.suppress(redis.RedisError), _connect(_with_database(server_url, number)) as connection:
            connection.flushdb()


def _claim_database(server_url: str) -> int:
    with _connect(server_url) as connection:
        version = str(connection.info("server")["redis_version"])
    if int(version.split(".")[0]) < LEAST_REDIS:
        raise ServerUnreachableError(f"The Redis at {_shown(server_url)} is too old.", why=f"It is {version}.", cure=f"Use {LEAST_REDIS} or newer.")
    for number in REDIS_DATABASES:
        with _connect(_with_database(server_url, number)) as connection:
            if not connection.set(CLAIM, os.getpid(), nx=True, ex=CLAIM_SECONDS):
                continue
            if connection.dbsize() == 1:
                return number
            connection.delete(CLAIM)
    why = f"Databases {REDIS_DATABASES.start} to {REDIS_DATABASES.stop - 1} are all in use."
    raise ServerUnreachableError(f"The Redis at {_shown(server_url)} has no empty database.", why=why, cure="Empty one, or name another server.")


def _connect(url: str) -> "redis.Redis":
    return redis.Redis.from_url(url, socket_connect_timeout=REDIS_SECONDS, socket_timeout=REDIS_SECONDS)


def _with_database(server_url: str, number: int) -> str:
    scheme, rest = server_url.split("://", 1)
    return f"{scheme}://{rest.split('/', 1)[0]}/{number}"


def _shown(url: str) -> str:
    """Return the URL without its password."""
    return url.rsplit("@", 1)[-1].removeprefix("redis://")


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "postgres"


POSTGRES = ServerKind(
    "PostgreSQL",
    tuple(f"postgresql+psycopg://{user}@127.0.0.1:5432/postgres" for user in dict.fromkeys((_user(), "postgres"))),
    LocalPostgres,
    own_database,
)
REDIS = ServerKind("Redis", ("redis://127.0.0.1:6379/0",), LocalRedis, own_redis)
