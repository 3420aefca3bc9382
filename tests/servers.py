"""The PostgreSQL and the Redis that tests run on, and the one line that says what was skipped for want of them.

`GLOSSATOR_TEST_POSTGRES_URL` and `GLOSSATOR_TEST_REDIS_URL` name servers; else those that answer on the default local ports are taken; else
private ones are started from the binaries of the machine; else Debian's packages are installed, where this process is root and
`GLOSSATOR_TEST_NO_INSTALL` is not 1; else tests that need them are skipped. With `GLOSSATOR_TEST_NO_SERVICES=1` servers that run already are as if
they were not there; with `GLOSSATOR_TEST_NO_SERVERS=1` none is started either.
"""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from api.demo.local_servers import LocalServer
from api.demo.servers import POSTGRES, REDIS, OwnServer, ServerKind, own
from interp.domain.errors import ServerMissingError

NAMED = {POSTGRES.name: "GLOSSATOR_TEST_POSTGRES_URL", REDIS.name: "GLOSSATOR_TEST_REDIS_URL"}
PACKAGES = {POSTGRES.name: "postgresql", REDIS.name: "redis-server"}
NO_INSTALL, NO_SERVICES, NO_SERVERS = "GLOSSATOR_TEST_NO_INSTALL", "GLOSSATOR_TEST_NO_SERVICES", "GLOSSATOR_TEST_NO_SERVERS"
INSTALL_SECONDS = 300
WANTED = "not run for want of "


@contextmanager
def room(kind: ServerKind) -> Iterator[OwnServer]:
    """A database, or a number, of one's own. Skips the test where none is to be had; a named server that gives none is an error."""
    with ExitStack() as stack:
        try:
            found = _room(kind, stack)
        except ServerMissingError as error:
            pytest.skip(f"{WANTED}{kind.name}: {error}")
        yield found


@contextmanager
def private(kind: ServerKind) -> Iterator[LocalServer]:
    """A server that nobody else uses: it may be stopped, killed and filled. Skips the test where the machine has no binaries of it."""
    try:
        _binaries(kind)
    except ServerMissingError as error:
        pytest.skip(f"{WANTED}{kind.name}: {error}")
    with kind.private() as server:
        yield server


def skipped(reasons: Iterable[str]) -> str:
    """One line that counts the tests whose reasons say that a server was missing; empty where none does."""
    counts = Counter(reason.split(WANTED, 1)[1].split(":", 1)[0] for reason in reasons if WANTED in reason)
    if not counts:
        return ""
    told = " and ".join(f"{number} that need {name}" for name, number in sorted(counts.items()))
    cures = ", ".join([*(NAMED[name] for name in sorted(counts)), *(f"apt install {PACKAGES[name]}" for name in sorted(counts))])
    return f"TESTS WERE SKIPPED for want of a server: {told}. Cure: {cures}."


def _room(kind: ServerKind, stack: ExitStack) -> OwnServer:
    _servers_allowed()
    named = os.environ.get(NAMED[kind.name], "")
    if os.environ.get(NO_SERVICES) == "1":
        kind, named = replace(kind, local=()), ""
    try:
        return stack.enter_context(own(kind, named))
    except ServerMissingError:
        _install(kind)
    return stack.enter_context(own(kind))


def _binaries(kind: ServerKind) -> None:
    _servers_allowed()
    try:
        kind.private.find()
    except ServerMissingError:
        _install(kind)


def _servers_allowed() -> None:
    if os.environ.get(NO_SERVERS) == "1":
        raise ServerMissingError("No server may be used.", why=f"{NO_SERVERS} is 1.")


def _install(kind: ServerKind) -> None:
    """Debian's package, by one process at a time. Raises ServerMissingError where that is not allowed, or does not help."""
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0 or os.environ.get(NO_INSTALL) == "1":
        raise ServerMissingError(f"{kind.name} is not installed.", why=f"Only root on Debian may install it, and {NO_INSTALL} may forbid it.")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    with (Path(tempfile.gettempdir()) / "glossator-test-install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", PACKAGES[kind.name]]):
            try:
                subprocess.run([apt, *command], env=environment, check=True, capture_output=True, timeout=INSTALL_SECONDS)
            except (subprocess.SubprocessError, OSError) as error:
                raise ServerMissingError(f"{kind.name} is not installed.", why=f"Installing it failed: {error}") from error
    kind.private.find()
