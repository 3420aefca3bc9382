"""One server on a socket, with the synthetic book."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from api.server import Service
from glossator import Client
from interp.config.settings import Settings
from interp.store.db.engine import make_engine
from tests import databases
from tests.api import synthetic


@pytest.fixture(scope="session")
def book_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A running server on SQLite, without workers."""
    settings = Settings(home=tmp_path_factory.mktemp("book"))
    databases.upgrade_and_empty(settings.database_url)
    engine = make_engine(settings.database_url)
    synthetic.fill(engine)
    with Service(settings, "127.0.0.1", 0, workers=False) as service:
        yield service
    engine.dispose()


@pytest.fixture
def client(book_server: Service) -> Iterator[Client]:
    with Client(book_server.url) as found:
        yield found


@pytest.fixture(scope="session")
def openapi(book_server: Service) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{book_server.url}/openapi.json", timeout=60).json()
    return found
