"""Fixtures for all tests: databases of both dialects, and the tiny job."""

import os
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from sqlalchemy import URL, Engine, create_engine, make_url, text
from sqlalchemy.exc import OperationalError

from interp.settings import Settings
from interp.spec import JobSpec
from interp.store import migrate
from interp.store.engine import make_engine
from interp.store.tables import Base
from tests.fakes import tiny

# Tests' tensors are tiny, and threads that wait for one another on a busy machine cost a hundred times what they save.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A machine that is busy with other things makes any one example slow: time is the whole test's matter, not an example's.
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")

LOCAL = [URL.create("postgresql+psycopg", user, host="127.0.0.1", port=5432, database="postgres") for user in ("root", "postgres")]


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """URL of an empty PostgreSQL database, dropped in the end. Skips, with one loud line, where no server answers."""
    server = _postgres_server()
    if server is None:
        reason = "no PostgreSQL: set GLOSSATOR_TEST_POSTGRES_URL, or start one at 127.0.0.1:5432"
        warnings.warn(f"tests on PostgreSQL are skipped: {reason}", stacklevel=1)
        pytest.skip(reason)
    name = f"glossator_test_{uuid.uuid4().hex[:12]}"
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield server.set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a database of each dialect, upgraded and without a row."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'test.db'}"
        migrate.upgrade(url)
        return url
    url = str(request.getfixturevalue("postgres_url"))
    migrate.upgrade(url)
    engine = make_engine(url)
    tables = ", ".join(table.name for table in Base.metadata.sorted_tables)
    with engine.begin() as connection:
        connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY CASCADE"))
    engine.dispose()
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


@pytest.fixture(scope="session")
def tiny_job(tmp_path_factory: pytest.TempPathFactory) -> JobSpec:
    """A job that takes seconds, with its files."""
    return tiny.build(tmp_path_factory.mktemp("tiny"))


def _postgres_server() -> URL | None:
    """A server that answers, as a URL of its maintenance database; None where there is none or no service may be used."""
    if os.environ.get("GLOSSATOR_TEST_NO_SERVICES") == "1":
        return None
    given = os.environ.get("GLOSSATOR_TEST_POSTGRES_URL")
    candidates = [make_url(given).set(drivername="postgresql+psycopg")] if given else LOCAL
    return next((url for url in candidates if _answers(url)), None)


def _answers(url: URL) -> bool:
    engine = create_engine(url, connect_args={"connect_timeout": 2})
    try:
        with engine.connect():
            return True
    except OperationalError:
        return False
    finally:
        engine.dispose()
