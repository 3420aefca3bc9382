"""Connect to GLOSSATOR_API_URL, the default port's server, or the local database."""

import gc
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from api.cli.output.console import say
from interp.config.home import check_readable, make_home
from interp.config.settings import Settings, settings, take_settings
from interp.domain.errors import ServerUnreachableError
from interp.observability.import_time import without_collecting

if TYPE_CHECKING:
    from api.cli.local import Local
    from glossator import Client

    Reader = Client | Local

CONNECT_SECONDS = 3.0


@contextmanager
def reader() -> Iterator["Reader"]:
    """Yield a server's client or local database; raises ServerUnreachableError without either."""
    found = settings()
    client = _server(found)
    if client is not None:
        with client:
            yield client
        return
    if found.is_alone:
        check_readable(found.home)
    if not _has_database(found):
        raise ServerUnreachableError(
            "There is nothing to read.",
            why=f"No server answers at {_default_url(found)}, and there is no database at {found.database_url}.",
            cure="Start one with `glossator serve`, or run `glossator demo`.",
        )
    with without_collecting():
        from api.cli.local import Local
        from interp.store.db import revision
        from interp.store.db.engine import make_engine

    engine = make_engine(found.database_url)
    # Imported modules stay, so the garbage collector need not scan them.
    gc.freeze()
    try:
        revision.check(engine)
        yield Local(engine, found)
    finally:
        engine.dispose()


@contextmanager
def server() -> Iterator["Client"]:
    """Yield a client for a command that changes something; raises ServerUnreachableError."""
    found = settings()
    client = _server(found)
    if client is None:
        raise ServerUnreachableError(
            f"No server answers at {_default_url(found)}.",
            why="Nothing listens there, or another program does.",
            cure="Start one with `glossator serve`, or set GLOSSATOR_API_URL to where one is.",
        )
    with client:
        yield client


@contextmanager
def service(roots: tuple[Path, ...]) -> Iterator["Client"]:
    """Yield a server's client, or that of an embedded service on the local database.

    The embedded one reads files under `roots`, for one command. Raises ServerUnreachableError where the database is shared: its server is elsewhere.
    """
    found = settings()
    if not found.is_alone or _listens(found) or found.api_url:
        with server() as client:
            yield client
        return
    with embedded(take_settings(home=found.home, roots=roots)) as client:
        yield client


@contextmanager
def embedded(found: Settings) -> Iterator["Client"]:
    """Run an embedded service, whose workers log to a file, and yield its client."""
    from api.server import Service
    from glossator import Client

    make_home(found.home)
    with (
        (found.home / "workers.log").open("ab") as log,
        Service(found, "127.0.0.1", 0, log_to=log) as running,
        Client(running.url, key=found.client_key) as client,
    ):
        say(f"Glossator is listening on {running.url}; its workers log to {log.name}")
        yield client


def _server(found: Settings) -> "Client | None":
    """Return a client of GLOSSATOR_API_URL, else of the default port if it answers."""
    # Without a server httpx is not imported.
    if not found.api_url and not _listens(found):
        return None
    from glossator import Client

    if found.api_url:
        return Client(found.api_url, key=found.client_key)
    client = Client(_default_url(found), key=found.client_key)
    if client.is_glossator():
        return client
    client.close()
    return None


def _listens(found: Settings) -> bool:
    """Return whether any program listens on the server's address."""
    try:
        socket.create_connection((_default_host(found), found.port), CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def _default_url(found: Settings) -> str:
    return f"http://{_default_host(found)}:{found.port}"


def _default_host(found: Settings) -> str:
    return "127.0.0.1" if found.host in ("0.0.0.0", "::") else found.host


def _has_database(found: Settings) -> bool:
    if not found.database_url.startswith("sqlite"):
        return True
    # Commands that talk to a server start faster without SQLAlchemy.
    from interp.store.db.engine import make_url

    url = make_url(found.database_url)
    return bool(url.database) and Path(str(url.database)).exists()
