"""Fixtures for all tests: databases of both dialects, and the tiny job."""

import gc
import logging
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import redis
from sqlalchemy import Engine

from api.demo.local_servers import LocalServer
from api.demo.servers import CLAIM, POSTGRES, REDIS
from benches import tiny
from interp.config.settings import Settings
from interp.config.settings import settings as settings_of_process
from interp.domain.spec import JobSpec
from interp.store.db.engine import make_engine
from tests import databases, servers

# Tests' tensors are tiny, and threads that wait for one another on a busy machine cost a hundred times what they save.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Nobody's own settings are in force here.
os.environ["GLOSSATOR_CONFIG"] = ""

# A machine that is busy with tests may take long to look at a job's files: only tests of just that want the answer before.
os.environ.setdefault("GLOSSATOR_PREFLIGHT_WAIT_SECONDS", "60")

# xdist gives its workers a window of 80 columns: what a command prints must not depend on how many processes run the tests.
os.environ.pop("COLUMNS", None)

# A machine that is busy with other things makes any one example slow: time is the whole test's matter, not an example's.
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")


@pytest.fixture(autouse=True)
def root_log() -> Iterator[None]:
    """Restores the root logger after each test.

    What sets up a process's log does so for good: the next test's lines would go to the captured stream of this one, which is closed by then.
    """
    root = logging.getLogger()
    handlers, level, hooks = root.handlers[:], root.level, (sys.excepthook, threading.excepthook)
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    sys.excepthook, threading.excepthook = hooks


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """URL of an empty PostgreSQL database of this session's own."""
    with servers.room(POSTGRES) as found:
        yield found.url


@pytest.fixture(autouse=True)
def settings_of_the_environment() -> None:
    """Settings are read anew: those of an earlier test in this process are not this one's."""
    settings_of_process.cache_clear()


@pytest.fixture(scope="session")
def redis_room() -> Iterator[str]:
    """URL of a Redis database number of this session's own."""
    with servers.room(REDIS) as found:
        yield found.url


@pytest.fixture
def redis_url(redis_room: str) -> str:
    """URL of a Redis database number without a key in it but the one that says whose it is."""
    with redis.Redis.from_url(redis_room) as connection:
        for key in connection.scan_iter(count=1000):
            if key != CLAIM.encode():
                connection.delete(key)
    return redis_room


@pytest.fixture(scope="module")
def private_postgres() -> Iterator[LocalServer]:
    """A PostgreSQL that the module may stop, kill and start again."""
    with servers.private(POSTGRES) as server:
        yield server


@pytest.fixture(scope="module")
def private_redis() -> Iterator[LocalServer]:
    """A Redis that the module may stop, flush, kill and start again."""
    with servers.private(REDIS) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a database of each dialect, upgraded and without a row."""
    url = f"sqlite:///{tmp_path / 'test.db'}" if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))
    databases.upgrade_and_empty(url)
    return url


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on `database_url`."""
    made = make_engine(database_url)
    yield made
    made.dispose()


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """Settings of a service of its own on `database_url`."""
    return Settings(home=tmp_path / "home", database_url=database_url)


@pytest.fixture(autouse=True)
def connections_returned() -> Iterator[None]:
    """Closes the idle PostgreSQL connections of every engine that this process made, whoever holds it.

    Parts that a test starts within its own process keep theirs until a whole garbage collection, and PostgreSQL has 100 for all.
    """
    yield
    databases.close_idle_connections()


@pytest.fixture(scope="session")
def tiny_job(tmp_path_factory: pytest.TempPathFactory) -> JobSpec:
    """A job that takes seconds, with its files."""
    return tiny.build(tmp_path_factory.mktemp("tiny"))


def pytest_configure() -> None:
    """Knows each engine of this process from its first connection on."""
    databases.watch_engines()


def pytest_collection_finish() -> None:
    """What was imported stays: whole garbage collections need not walk over it again and again."""
    gc.freeze()
    # Commands that end with their process freeze what is alive: here that would be what other tests left to the collector.
    gc.freeze = lambda: None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests counted, also those of other processes; and the one loud line."""
    for report in (report for some in terminalreporter.stats.values() for report in some if getattr(report, "when", "") == "call"):
        for _, value in (pair for pair in report.user_properties if pair[0] == "counts"):
            terminalreporter.write_line(str(value))
    reports = terminalreporter.stats.get("skipped", [])
    line = servers.skipped(report.longrepr[2] for report in reports if isinstance(report.longrepr, tuple))
    if line:
        terminalreporter.write_line(line, red=True, bold=True)
