"""The PostgreSQL and the Redis that tests run on, and the one line that says what was skipped for want of them.

`GLOSSATOR_TEST_POSTGRES_URL` and `GLOSSATOR_TEST_REDIS_URL` name servers; else those that answer on the default local ports are taken; else
private ones are started, from the binaries of the machine or else of Python packages; else tests that need them are skipped. With
`GLOSSATOR_TEST_NO_SERVICES=1` servers that run already are as if they were not there; with `GLOSSATOR_TEST_NO_SERVERS=1` none is started either.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from api.demo.local_servers import INSTALL, LocalServer
from api.demo.servers import POSTGRES, REDIS, OwnServer, ServerKind, own
from interp.domain.errors import ServerMissingError

NAMED = {POSTGRES.name: "GLOSSATOR_TEST_POSTGRES_URL", REDIS.name: "GLOSSATOR_TEST_REDIS_URL"}
NO_SERVICES, NO_SERVERS = "GLOSSATOR_TEST_NO_SERVICES", "GLOSSATOR_TEST_NO_SERVERS"
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
    """A server that nobody else uses: it may be stopped, killed and filled. Skips the test where there are no binaries of it."""
    try:
        _servers_allowed()
        kind.private.find()
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
    cures = ", ".join([*(NAMED[name] for name in sorted(counts)), INSTALL])
    return f"TESTS WERE SKIPPED for want of a server: {told}. Cure: {cures}."


def _room(kind: ServerKind, stack: ExitStack) -> OwnServer:
    _servers_allowed()
    named = os.environ.get(NAMED[kind.name], "")
    if os.environ.get(NO_SERVICES) == "1":
        kind, named = replace(kind, local=()), ""
    return stack.enter_context(own(kind, named))


def _servers_allowed() -> None:
    if os.environ.get(NO_SERVERS) == "1":
        raise ServerMissingError("No server may be used.", why=f"{NO_SERVERS} is 1.")
