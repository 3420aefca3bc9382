"""Where the servers of tests come from: each way of the choice, with real servers and real programs."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
import redis

import api.demo.local_servers
import api.demo.servers
from api.demo.local_servers import POSTGRES_PACKAGE, REDIS_PACKAGE, LocalServer
from api.demo.servers import POSTGRES, REDIS, ServerKind, own, own_redis
from interp.domain.errors import ServerUnreachableError
from interp.store import migrate
from interp.store.db import temporary_database
from tests import servers

PACKAGED = {POSTGRES.name: POSTGRES_PACKAGE, REDIS.name: REDIS_PACKAGE}
KINDS = [pytest.param(POSTGRES, id="postgres"), pytest.param(REDIS, id="redis")]


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no variable said anything about servers."""
    for name in (*servers.NAMED.values(), servers.NO_SERVICES, servers.NO_SERVERS):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unset: None) -> Path:
    """As if the machine had neither server: the one folder of programs, empty."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(api.demo.local_servers, "POSTGRES_FOLDERS", (str(folder / "*"),))
    return folder


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Callable[[ServerKind], LocalServer]]:
    """The private server of a kind."""
    names = {POSTGRES.name: "private_postgres", REDIS.name: "private_redis"}
    yield lambda kind: request.getfixturevalue(names[kind.name])


@pytest.mark.parametrize("kind", KINDS)
def test_a_named_server_is_taken(kind: ServerKind, server: Callable[[ServerKind], LocalServer], monkeypatch: pytest.MonkeyPatch) -> None:
    named = server(kind)
    monkeypatch.setenv(servers.NAMED[kind.name], named.url)
    with servers.room(kind) as found:
        assert found.where == "named"
        assert str(named.port) in found.url
        assert_is_empty(found.url)


@pytest.mark.parametrize("kind", KINDS)
def test_a_named_server_that_is_not_there_is_an_error_and_no_skip(kind: ServerKind, monkeypatch: pytest.MonkeyPatch) -> None:
    scheme = kind.local[0].split("://", maxsplit=1)[0]
    monkeypatch.setenv(servers.NAMED[kind.name], f"{scheme}://127.0.0.1:{api.demo.local_servers.free_port()}/0")
    with pytest.raises(ServerUnreachableError, match="refused"), servers.room(kind):
        pass


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_at_the_default_port_comes_before_a_private_one(kind: ServerKind, server: Callable[[ServerKind], LocalServer], unset: None) -> None:
    with own(replace(kind, local=(server(kind).url,))) as found:
        assert found.where == "local"
        assert_is_empty(found.url)


@pytest.mark.parametrize("kind", KINDS)
def test_a_private_one_is_started_where_none_answers(kind: ServerKind, server: Callable[[ServerKind], LocalServer], unset: None) -> None:
    server(kind)
    with own(replace(kind, local=())) as found:
        assert found.where == "private"
        assert_is_empty(found.url)
    with pytest.raises((psycopg.OperationalError, redis.ConnectionError)):
        assert_is_empty(found.url)


@pytest.mark.parametrize("kind", KINDS)
def test_servers_that_run_can_be_left_alone(
    kind: ServerKind, server: Callable[[ServerKind], LocalServer], unset: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(servers.NAMED[kind.name], server(kind).url)
    monkeypatch.setenv(servers.NO_SERVICES, "1")
    with servers.room(kind) as found:
        assert found.where == "private"


@pytest.mark.parametrize("kind", KINDS)
def test_a_local_server_that_lets_nobody_in_is_passed_by(kind: ServerKind, server: Callable[[ServerKind], LocalServer], unset: None) -> None:
    host = server(kind).url.rsplit("@", 1)[1]
    locked = f"{kind.local[0].split('://', maxsplit=1)[0]}://stranger:wrong@{host}"
    with own(replace(kind, local=(locked,))) as found:
        assert found.where == "private"


@pytest.fixture
def of_packages(kind: ServerKind, bare: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if the machine had the Python packages alone; the servers' user may enter its one folder of programs."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        for program in ("test", "sh", "rm", "sleep", "kill", "seq"):
            (Path(folder) / program).symlink_to(f"/usr/bin/{program}")
        monkeypatch.setenv("PATH", folder)
        module, inner = PACKAGED[kind.name]
        if not api.demo.local_servers.packaged(module, inner):
            pytest.skip(f"{module} is not installed, or not to be run by the servers' user")
        yield


@pytest.mark.parametrize("kind", KINDS)
def test_a_python_package_has_the_programs_where_the_machine_has_none(kind: ServerKind, of_packages: None) -> None:
    """A whole upgrade of the tables, and a search, on that PostgreSQL: it has no pg_trgm."""
    assert "site-packages" in str(kind.private.find())
    with own(replace(kind, local=())) as found:
        assert found.where == "private"
        assert_is_empty(found.url)
        if kind is POSTGRES:
            migrate.upgrade(found.url)
            with psycopg.connect(found.url.replace("+psycopg", ""), autocommit=True) as connection:
                connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
                assert connection.execute("SELECT '[1,2]'::vector <-> '[1,3]'").fetchone() == (1.0,)


@pytest.mark.parametrize("kind", KINDS)
def test_a_test_is_skipped_where_there_are_no_programs(kind: ServerKind, bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.demo.local_servers, "find_spec", lambda _name: None)
    (bare / "apt-get").write_text(f"#!/bin/sh\n/bin/echo asked > {bare}/asked\n")
    (bare / "apt-get").chmod(0o755)
    with pytest.raises(pytest.skip.Exception, match=f"{servers.WANTED}{kind.name}"), servers.private(kind):
        pass
    assert not (bare / "asked").exists(), "no package of the system is installed"


def test_one_line_counts_what_was_skipped() -> None:
    """In a session of its own, over two processes, where no server may be used."""
    environment = os.environ | {servers.NO_SERVERS: "1"}
    command = [sys.executable, "-m", "pytest", "-n", "2", "tests/store/test_dialect.py", "tests/test_servers.py::test_numbers_are_nobody_elses"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=Path(__file__).parents[1], timeout=160)
    assert done.returncode == 0, done.stdout
    lines = [line for line in done.stdout.splitlines() if "TESTS WERE SKIPPED" in line]
    assert len(lines) == 1
    told = re.search(r"(\d+) that need PostgreSQL and 1 that need Redis", lines[0])
    skipped = re.search(r"(\d+) skipped", done.stdout)
    assert told and skipped
    assert 1 < int(told[1]) == int(skipped[1]) - 1


def test_no_line_where_nothing_was_skipped_for_want_of_a_server() -> None:
    assert servers.skipped(["Skipped: no GPU here"]) == ""


def test_a_database_is_nobody_elses_and_is_dropped(private_postgres: LocalServer) -> None:
    with temporary_database.own_database(private_postgres.url) as first, temporary_database.own_database(private_postgres.url) as second:
        with psycopg.connect(first.replace("+psycopg", "")) as connection:
            connection.execute("CREATE TABLE ours (value int)")
        assert_is_empty(second)
    with psycopg.connect(private_postgres.url.replace("+psycopg", "")) as connection:
        assert connection.execute("SELECT count(*) FROM pg_database WHERE datname LIKE 'glossator%'").fetchone() == (0,)


def test_numbers_are_nobody_elses(private_redis: LocalServer) -> None:
    with own_redis(private_redis.url) as first, own_redis(private_redis.url) as second:
        assert first != second
        redis.Redis.from_url(first).set("key", "value")
        assert redis.Redis.from_url(second).get("key") is None
    assert redis.Redis.from_url(first).dbsize() == 0, "left as it was found"


def test_a_number_with_somebodys_keys_in_it_is_left_alone(private_redis: LocalServer) -> None:
    with redis.Redis.from_url(private_redis.url.removesuffix("/0") + "/1") as connection:
        connection.set("theirs", "value")
        with own_redis(private_redis.url) as url:
            assert not url.endswith("/1")
        assert connection.get("theirs") == b"value"
        connection.flushdb()


def test_a_server_that_is_too_old_is_refused(private_postgres: LocalServer, private_redis: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temporary_database, "LEAST_VERSION", 99)
    monkeypatch.setattr(api.demo.servers, "LEAST_REDIS", 99)
    for kind, running in ((POSTGRES, private_postgres), (REDIS, private_redis)):
        with pytest.raises(ServerUnreachableError, match="too old"), kind.own(running.url):
            pass


def assert_is_empty(url: str) -> None:
    """No table, or no key but the one that says whose number it is."""
    if url.startswith("redis"):
        with redis.Redis.from_url(url) as connection:
            assert connection.keys() == [api.demo.servers.CLAIM.encode()]
        return
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)
