"""One server for each dialect with the synthetic book, and one browser, for all tests of pages.

Playwright's loop runs in the main thread as long as the browser does: the fixtures end with this folder's tests, before
others begin loops of their own.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial

import pytest
from playwright.sync_api import Browser, sync_playwright
from sqlalchemy import Engine

from api.server import Service
from interp.config.settings import Settings
from interp.store.db.engine import make_engine
from tests import databases
from tests.api import synthetic
from tests.pages.browsing import PHONE, Watched, chromium, watching


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """This machine's Chromium."""
    path = chromium()
    if path is None:
        pytest.skip("THE PAGES ARE NOT TESTED: this machine has no Chromium (Debian: apt-get install chromium)")
    # Tests run as root in containers, where Chromium has no sandbox.
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield found
        found.close()


@pytest.fixture(scope="package", params=["sqlite", "postgresql"])
def pages_settings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Settings:
    """Settings of an upgraded database of each dialect."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else ""
    settings = Settings(home=tmp_path_factory.mktemp("pages"), database_url=url)
    databases.upgrade_and_empty(settings.database_url)
    return settings


@pytest.fixture(scope="package")
def store(pages_settings: Settings) -> Iterator[Engine]:
    """The database, with the synthetic book in it."""
    engine = make_engine(pages_settings.database_url)
    synthetic.fill(engine)
    yield engine
    engine.dispose()


@pytest.fixture(scope="package")
def server(pages_settings: Settings, store: Engine) -> Iterator[Service]:
    """A running server of each dialect, without workers and keys."""
    with Service(pages_settings, "127.0.0.1", 0, workers=False) as service:
        yield service


@pytest.fixture(scope="package")
def view(browser: Browser, server: Service) -> Callable[..., AbstractContextManager[Watched]]:
    """Opens a watched page with options of Playwright's context."""
    return partial(watching, browser, server.url)


@pytest.fixture
def desk(browser: Browser, server: Service) -> Iterator[Watched]:
    """A watched page of a desk's width."""
    with watching(browser, server.url) as found:
        yield found


@pytest.fixture
def phone(browser: Browser, server: Service) -> Iterator[Watched]:
    """A watched page of a phone's width, in the dark."""
    with watching(browser, server.url, viewport=PHONE, color_scheme="dark", has_touch=True) as found:
        yield found
