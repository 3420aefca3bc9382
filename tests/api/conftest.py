"""A book in each database, and an app on it."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine

from api.app import create_app
from benches.in_process import InProcess
from glossator import Client
from interp.config.settings import Settings
from interp.store.db.engine import make_engine
from tests import databases
from tests.api import synthetic


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def service_settings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of an upgraded database of each dialect, without a row."""
    home: Path = tmp_path_factory.mktemp(f"book-{request.param}")
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else ""
    settings = Settings(home=home, database_url=url)
    databases.upgrade_and_empty(settings.database_url)
    return settings


@pytest.fixture(scope="module")
def store(service_settings: Settings) -> Iterator[Engine]:
    """The database, with the synthetic book in it."""
    engine = make_engine(service_settings.database_url)
    synthetic.fill(engine)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def http(service_settings: Settings, store: Engine) -> Iterator[httpx.Client]:
    """Raw HTTP to the app, for what status codes and headers say."""
    with httpx.Client(transport=InProcess(create_app(service_settings)), base_url="http://test") as client:
        yield client


@pytest.fixture(scope="module")
def client(service_settings: Settings, store: Engine) -> Iterator[Client]:
    """Our own client of the app."""
    with Client("http://test", InProcess(create_app(service_settings))) as found:
        yield found
