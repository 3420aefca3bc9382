"""Private servers: what they keep, whom they let in, and that they end."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from api.demo.local_servers import LocalPostgres, LocalRedis, LocalServer, unprivileged
from interp.domain.errors import ServerUnreachableError

ROOT = Path(__file__).parents[2]
END_SECONDS = 30.0


@pytest.fixture(params=[LocalPostgres, LocalRedis])
def kind(request: pytest.FixtureRequest) -> type[LocalServer]:
    """Each kind of server, where the machine has it."""
    request.getfixturevalue({LocalPostgres: "private_postgres", LocalRedis: "private_redis"}[request.param])
    return request.param


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that any user may enter: pytest's own are closed to all but who runs it."""
    parent = Path(tempfile.mkdtemp(prefix="glossator-test-"))
    parent.chmod(0o755)
    yield parent / "server"
    shutil.rmtree(parent)


def test_postgres_keeps_what_was_committed_through_each_way_to_die(private_postgres: LocalServer) -> None:
    port = private_postgres.port
    with sql(private_postgres) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (number int)")
    for number, by in enumerate((signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGKILL)):
        with sql(private_postgres) as connection:
            connection.execute("INSERT INTO kept VALUES (%s)", (number,))
        private_postgres.restart(by)
    assert private_postgres.port == port
    with sql(private_postgres) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (4,)


def test_redis_keeps_its_keys_when_stopped_and_loses_them_when_killed(private_redis: LocalServer) -> None:
    with redis.Redis.from_url(private_redis.url) as connection:
        connection.set("key", "value")
        private_redis.restart()
        assert connection.get("key") == b"value"
        connection.set("late", "value")
        private_redis.restart(signal.SIGKILL)
        assert connection.get("late") is None


def test_a_stranger_is_not_let_in(private_postgres: LocalServer, private_redis: LocalServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(host="127.0.0.1", port=private_postgres.port, user="glossator", dbname="postgres").close()
    with pytest.raises(redis.AuthenticationError), redis.Redis(port=private_redis.port) as connection:
        connection.ping()


def test_a_server_ends_with_the_process_that_started_it_and_leaves_nothing(kind: type[LocalServer]) -> None:
    code = (
        f"import os; from api.demo.local_servers import *\nwith {kind.__name__}() as s: print(s.pid, s.folder, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == -signal.SIGKILL, done.stderr
    pid, folder = done.stdout.split()
    until_gone(int(pid), Path(folder))


def test_data_in_a_given_folder_is_there_the_next_time(kind: type[LocalServer], reachable: Path) -> None:
    with kind(reachable) as running:
        remember(running)
    with kind(reachable) as running:
        assert is_remembered(running)
    assert (reachable / "server.log").exists()


def test_a_folder_that_the_servers_user_cannot_enter_is_refused_with_a_cure(private_redis: LocalServer, tmp_path: Path) -> None:
    if unprivileged() is None:
        pytest.skip("only root's servers run as somebody else")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(ServerUnreachableError, match="below /tmp"), LocalRedis(closed / "data"):
        pass


def test_a_server_that_does_not_start_says_why(private_postgres: LocalServer, reachable: Path) -> None:
    with LocalPostgres(reachable) as first:
        first.stop()
        (reachable / "data" / "postgresql.conf").write_text("shared_buffers = nonsense\n")
        with pytest.raises(ServerUnreachableError, match="shared_buffers"):
            first.start()


def test_a_plain_user_starts_them_too(kind: type[LocalServer], reachable: Path) -> None:
    user = unprivileged()
    if user is None:
        pytest.skip("all tests run as a plain user here")
    code = f"from api.demo.local_servers import *\nwith {kind.__name__}() as s: s.restart(); print(unprivileged(), s.port)"
    reachable.mkdir()
    shutil.chown(reachable, user.pw_uid, user.pw_gid)
    # Somebody else, who may still read root's Python and this checkout.
    reading = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    become = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", *reading]
    if shutil.which(become[0]) is None or subprocess.run([*become, "true"], capture_output=True).returncode != 0:
        pytest.skip("setpriv cannot make a plain user here")
    environment = os.environ | {"TMPDIR": str(reachable)}
    done = subprocess.run([*become, sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT, env=environment)
    assert done.stdout.startswith("None "), done.stderr
    assert not any(reachable.iterdir())


def sql(server: LocalServer) -> "psycopg.Connection[tuple[object, ...]]":
    return psycopg.connect(server.url.replace("+psycopg", ""))


def remember(server: LocalServer) -> None:
    if isinstance(server, LocalRedis):
        with redis.Redis.from_url(server.url) as connection:
            connection.set("key", "value")
        return
    with sql(server) as connection:
        connection.execute("CREATE TABLE key (value int)")


def is_remembered(server: LocalServer) -> bool:
    if isinstance(server, LocalRedis):
        with redis.Redis.from_url(server.url) as connection:
            return connection.get("key") == b"value"
    with sql(server) as connection:
        return connection.execute("SELECT to_regclass('key')::text").fetchone() == ("key",)


def until_gone(pid: int, folder: Path) -> None:
    deadline = time.monotonic() + END_SECONDS
    while folder.exists() or _is_alive(pid):
        assert time.monotonic() < deadline, f"process {pid} or {folder} is still there"
        time.sleep(0.05)


def _is_alive(pid: int) -> bool:
    """A zombie that nobody reaps is not alive."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
