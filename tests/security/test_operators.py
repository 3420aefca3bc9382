"""A clumsy operator: whatever is wrong with the installation is told by every command in one line, with its cure, before anything is done."""

import errno
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from unittest.mock import Mock

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import make_url

from api.app import create_app
from api.cli import checks, main
from api.cli.failures import known
from api.cli.output import console
from api.server import AddressTakenError, NoKeyError, Service
from benches.in_process import InProcess
from glossator import ApiError, Client
from interp.config.home import HomeLock, Occupant, occupant
from interp.config.settings import EXAMPLES, Settings, settings
from interp.domain.access import Scope
from interp.domain.errors import DatabaseUnfitError, HomeTakenError
from interp.store import migrate
from interp.store.access import keys
from interp.store.db.engine import make_engine, transaction

HOLDING = """
import sys
from pathlib import Path
from interp.config.home import HomeLock
lock = HomeLock(Path(sys.argv[1]))
lock.name("http://x")
print(flush=True)
input()
"""
# Ways to write an address that other machines reach, or that lead to one.
OPEN_HOSTS = ("0.0.0.0", "", "::", "0", "192.0.2.7", "10.0.0.1", "::ffff:0.0.0.0", "example.invalid")


@pytest.fixture
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("operator") / "home")


@pytest.fixture
def keyed(embedded: Settings) -> Settings:
    """Settings whose database has a key, though it has been revoked since."""
    migrate.upgrade(embedded.database_url)
    engine = make_engine(embedded.database_url)
    with transaction(engine) as session:
        keys.revoke(session, keys.create(session, "admin", [Scope.ADMIN], "test").row.id)
    engine.dispose()
    return embedded


@pytest.mark.parametrize("host", OPEN_HOSTS, ids=repr)
def test_nothing_listens_where_others_reach_it_before_there_is_a_key(embedded: Settings, host: str) -> None:
    with pytest.raises((NoKeyError, AddressTakenError)) as refused, Service(embedded, host, 0, workers=False):
        pass
    if isinstance(refused.value, NoKeyError):
        assert "glossator keys create" in refused.value.cure
        assert "cancel any job" in refused.value.why
    else:
        assert host in ("192.0.2.7", "10.0.0.1", "example.invalid", "::ffff:0.0.0.0"), "no address of this machine, or none for an IPv6 socket"


def test_a_name_of_this_machine_that_leads_elsewhere_counts_by_its_address(embedded: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """`localhost` is what the machine's tables say it is."""
    bind = socket.create_server
    opened: list[socket.socket] = []

    def elsewhere(address: tuple[str, int], **options: object) -> socket.socket:
        opened.append(bind(("0.0.0.0", address[1]), **options))  # type: ignore[arg-type]
        return opened[0]

    monkeypatch.setattr(socket, "create_server", elsewhere)
    with pytest.raises(NoKeyError), Service(embedded, "localhost", 0, workers=False):
        pass
    assert opened[0].fileno() == -1, "it is closed again"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.9"])
def test_loopback_needs_nothing(embedded: Settings, host: str) -> None:
    with Service(embedded, host, 0, workers=False) as service:
        assert service.url


def test_a_key_opens_other_addresses_and_none_of_them_without_it(keyed: Settings) -> None:
    with Service(keyed, "0.0.0.0", 0, workers=False) as service:
        assert service.url.startswith("http://0.0.0.0:")
        assert service.has_keys
        with Client(service.url.replace("0.0.0.0", "127.0.0.1")) as client, pytest.raises(ApiError) as refused:
            list(client.list_jobs())
        assert refused.value.status == 401


def test_the_first_key_may_be_a_secret_of_the_settings(embedded: Settings) -> None:
    key = f"gl_{'c' * 8}_{'d' * 64}"
    for _ in range(2):
        given = embedded.model_copy(update={"admin_key": SecretStr(key)})
        with Service(given, "0.0.0.0", 0, workers=False) as service, Client(service.url.replace("0.0.0.0", "127.0.0.1"), key=key) as client:
            assert list(client.list_jobs()) == []


def test_a_service_without_a_key_says_so_and_how_to_make_one(embedded: Settings) -> None:
    with Service(embedded, "127.0.0.1", 0, workers=False) as service:
        assert not service.has_keys


# Two servers on one home.


def test_a_second_server_on_a_home_says_where_the_first_is(embedded: Settings) -> None:
    with Service(embedded, "127.0.0.1", 0, workers=False) as first:
        with pytest.raises(HomeTakenError) as taken:
            Service(embedded, "127.0.0.1", 0, workers=False)
        assert f"Process {os.getpid()} listens at {first.url}." == taken.value.why
        assert occupant(embedded.home) == Occupant(os.getpid(), first.url)
    assert occupant(embedded.home) is None
    with Service(embedded, "127.0.0.1", 0, workers=False):
        pass


def test_a_server_that_fails_to_start_gives_the_home_up(embedded: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with Service(embedded.model_copy(update={"home": embedded.home / "other"}), "127.0.0.1", 0, workers=False) as first:
        port = int(first.url.rpartition(":")[2])
        with pytest.raises(AddressTakenError):
            Service(embedded, "127.0.0.1", port, workers=False)
    with monkeypatch.context() as patched:
        patched.setattr("api.server.migrate.upgrade", Mock(side_effect=DatabaseUnfitError("x")))
        with pytest.raises(DatabaseUnfitError), Service(embedded, "127.0.0.1", 0, workers=False):
            pass
    with Service(embedded, "127.0.0.1", 0, workers=False):
        pass


def test_a_killed_server_leaves_no_lock_behind(tmp_path: Path) -> None:
    """kill -9: the file still names the dead process, and nobody believes it."""
    process = subprocess.Popen([sys.executable, "-c", HOLDING, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdin
    process.stdout.readline()
    with pytest.raises(HomeTakenError, match=f"Process {process.pid} listens at http://x"):
        HomeLock(tmp_path)
    process.kill()
    process.wait()
    assert str(process.pid) in (tmp_path / "server.lock").read_text()
    assert occupant(tmp_path) is None
    HomeLock(tmp_path).release()
    process.stdin.close()
    process.stdout.close()


def test_a_lock_is_not_inherited_by_children(tmp_path: Path) -> None:
    """A worker that outlives its server by a moment must not keep the next one out."""
    lock = HomeLock(tmp_path)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        lock.release()
        HomeLock(tmp_path).release()
        assert child.poll() is None


def test_a_lock_file_that_holds_nonsense_is_no_traceback(tmp_path: Path) -> None:
    lock = HomeLock(tmp_path)
    for content in (b"", b"\x00\xff", b"[]", b'{"pid": "x"}', b'{"pid": null, "url": 3}'):
        (tmp_path / "server.lock").write_bytes(content)
        with pytest.raises(HomeTakenError, match="A process of this machine is starting"):
            HomeLock(tmp_path)
    lock.release()


def test_servers_of_a_cluster_may_share_a_home(tmp_path: Path) -> None:
    assert not Settings(home=tmp_path, database_url="postgresql://host/name", broker_url="redis://host").is_alone
    assert Settings(home=tmp_path, database_url="postgresql://host/name").is_alone
    assert Settings(home=tmp_path, broker_url="redis://host").is_alone


# Every command on every broken installation.

READING = (
    ["job", "list"],
    ["job", "show", "x"],
    ["usage", "x"],
    ["dictionaries"],
    ["runs"],
    ["features", "a@b"],
    ["feature", "a@b:0"],
    ["provenance", "a@b:0"],
    ["export", "a@b"],
)
WRITING = (
    ["serve", "--port", "0"],
    ["serve", "--no-workers", "--port", "0"],
    ["worker", "gpu"],
    ["worker", "llm"],
    ["worker", "upkeep"],
    ["db", "upgrade"],
    ["db", "prune"],
    ["db", "prune", "--dry-run"],
)
ASKING = (["submit", "JOB"], ["estimate", "JOB"], ["job", "pause", "x"], ["job", "resume", "x"], ["job", "cancel", "x"])
NOBODY = "postgresql://somebody:hidden-password@127.0.0.1:1/none"


@dataclass(frozen=True)
class Ended:
    """What a command printed and how it ended."""

    status: int
    out: str
    err: str


class Operator:
    """Somebody who types commands in a home of their own, in this process."""

    def __init__(self, home: Path, patched: pytest.MonkeyPatch, captured: pytest.CaptureFixture[str]) -> None:
        self.home, self._patched, self._captured = home, patched, captured
        self._variables: dict[str, str] = {}
        self.job = home.parent / "job.yaml"
        self.job.write_text((EXAMPLES / "pystdlib" / "job.yaml").read_text())
        self.set(HOME=str(home), PORT="1")

    def set(self, **variables: str) -> None:
        self._variables |= {f"GLOSSATOR_{name}": value for name, value in variables.items()}

    def types(self, arguments: Sequence[str]) -> Ended:
        settings.cache_clear()
        # Each time: what is secret leaves the environment once it is read.
        for name, value in self._variables.items():
            self._patched.setenv(name, value)
        self._patched.setattr(sys, "argv", ["glossator", *(str(self.job) if word == "JOB" else word for word in arguments)])
        self._captured.readouterr()
        status: Any = 0
        try:
            main()
        except SystemExit as ended:
            status = ended.code
        finally:
            settings.cache_clear()
        return Ended(status or 0, *self._captured.readouterr())

    def is_told(self, arguments: Sequence[str], *words: str) -> str:
        """The one line that a command that cannot work prints. Any other error than one with status 2 fails the test with its traceback."""
        ended = self.types(arguments)
        assert (ended.status, ended.out) == (2, ""), ended
        (line,) = ended.err.splitlines()
        assert line.startswith("error: ")
        assert all(part in line for part in (" why: ", " cure: ", *words)), line
        assert "hidden-password" not in line
        return line

    def is_found(self, *names: str) -> None:
        """`doctor`, in both its forms, finds these things wrong and none of them else in vain."""
        ended = self.types(["doctor", "--json"])
        found = {finding["name"]: finding for finding in json.loads(ended.out)}
        assert ended.status in (1, 2), ended
        assert {*names} <= {name for name, finding in found.items() if not finding["well"]}, found
        assert all(finding["cure"] for finding in found.values() if not finding["well"])
        assert "hidden-password" not in ended.out + ended.err
        assert self.types(["doctor"]).status == ended.status


@pytest.fixture
def operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Operator:
    monkeypatch.setattr(checks, "CHECKS", tuple(check for check in checks.CHECKS if check is not checks.models))
    monkeypatch.setattr(console, "err", console.Terminal(stderr=True))
    return Operator(tmp_path / "home", monkeypatch, capsys)


each = partial(pytest.mark.parametrize, "arguments", ids=" ".join)


@each([*READING, *WRITING, *ASKING])
@pytest.mark.parametrize("name", ["GLOSSATOR_HOEM", "GLOSSATOR_DATABASE_ULR", "GLOSATOR_HOME", "GLOSSATOR_HEALT_PORT", "glossator_databse_url"])
def test_a_misspelt_variable_is_named(operator: Operator, monkeypatch: pytest.MonkeyPatch, arguments: list[str], name: str) -> None:
    monkeypatch.setenv(name, "x")
    operator.is_told(arguments, f"{name.upper()} is no setting", "Did you mean GLOSSATOR_")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (NOBODY, "does not answer"),
        ("mysql://u:hidden-password@host/db", "postgresql://"),
        ("postgresql+psycopg2://u:hidden-password@127.0.0.1/db", "psycopg2"),
        ("postgresql+nonsense://u:hidden-password@127.0.0.1/db", "nonsense"),
        ("sqlite+nonsense:///x.db", "nonsense"),
        ("postgresql://u:hidden-password@host:port/db", "GLOSSATOR_DATABASE_URL"),
    ],
)
@each([*READING, *WRITING])
def test_an_unknown_or_unreachable_database_is_told(operator: Operator, arguments: list[str], url: str, words: str) -> None:
    operator.set(DATABASE_URL=url)
    operator.is_told(arguments, words)


@each(WRITING)
def test_a_database_in_a_folder_that_cannot_be_made_is_told(operator: Operator, arguments: list[str]) -> None:
    operator.set(DATABASE_URL="sqlite:////proc/nobody/book.db")
    operator.is_told(arguments, "cannot be made")
    operator.is_found("database")


def test_a_database_that_the_server_has_not_is_told_with_what_to_make(operator: Operator, postgres_url: str) -> None:
    operator.set(DATABASE_URL=make_url(postgres_url).set(database="no_such_database").render_as_string(hide_password=False))
    for arguments in (*READING, *WRITING):
        operator.is_told(arguments, "refuses the connection", "createdb")
    operator.is_found("database")


@each([*READING, *WRITING])
@pytest.mark.parametrize("kind", ["garbage", "damaged", "newer", "folder"])
def test_a_database_that_is_not_ours_is_told(operator: Operator, upgraded: Path, arguments: list[str], kind: str) -> None:
    operator.home.mkdir()
    words = spoil(operator.home / "glossator.db", upgraded, kind)
    operator.is_told(arguments, words)


@pytest.mark.parametrize("kind", ["garbage", "damaged", "newer", "folder"])
def test_doctor_finds_such_a_database(operator: Operator, upgraded: Path, kind: str) -> None:
    operator.home.mkdir()
    spoil(operator.home / "glossator.db", upgraded, kind)
    operator.is_found("database")


@each([["serve", "--port", "0"], ["db", "upgrade"]])
def test_a_database_of_another_program_is_not_written_to(operator: Operator, arguments: list[str]) -> None:
    operator.home.mkdir()
    file = operator.home / "glossator.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE jobs (anything TEXT)")
        connection.commit()
    operator.is_told(arguments, "another program's", "jobs")
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("jobs",)]


@each([["job", "list"], ["worker", "llm"], ["db", "prune"]])
def test_an_older_database_is_told_with_the_command_that_upgrades_it(operator: Operator, arguments: list[str]) -> None:
    migrate.upgrade(f"sqlite:///{operator.home / 'glossator.db'}", "0002")
    operator.is_told(arguments, "glossator db upgrade", "0002")
    operator.is_found("database")


@each([*READING, *WRITING])
@pytest.mark.parametrize("kind", ["file", "below a file"])
def test_a_home_that_is_no_folder_is_told(operator: Operator, arguments: list[str], kind: str) -> None:
    spoil_home(operator, kind)
    operator.is_told(arguments, "is no folder")


@pytest.mark.parametrize("kind", ["file", "below a file"])
def test_doctor_finds_a_home_that_is_no_folder(operator: Operator, kind: str) -> None:
    spoil_home(operator, kind)
    operator.is_found("home", "database")


@each([["job", "list"], ["serve", "--port", "0"], ["worker", "llm"], ["db", "upgrade"], ["submit", "JOB"]])
@pytest.mark.parametrize("variable", ["HOME", "ARTIFACTS_URL"])
@pytest.mark.parametrize("kind", ["~nosuchuser/home", "circle", "long"])
def test_a_path_that_leads_nowhere_is_told(operator: Operator, arguments: list[str], variable: str, kind: str) -> None:
    circle = operator.home.parent / "circle"
    circle.symlink_to(circle)
    operator.set(**{variable: {"circle": str(circle), "long": "x" * 5000}.get(kind, kind)})
    operator.is_told(arguments, "leads nowhere")


def test_a_demo_in_a_home_that_is_a_file_is_told(operator: Operator) -> None:
    operator.home.write_text("")
    operator.is_told(["demo", "--home", str(operator.home), "--job", "JOB"], "is no folder")


@pytest.mark.parametrize("host", ["x" * 70, "no\udcffname"])
def test_an_address_that_is_none_is_told(embedded: Settings, host: str) -> None:
    with pytest.raises(AddressTakenError):
        Service(embedded, host, 0, workers=False)


@each([*READING, *WRITING])
def test_a_home_that_may_not_be_entered_is_told(operator: Operator, nobody: Path, upgraded: Path, arguments: list[str]) -> None:
    operator.set(HOME=str(nobody / "shut"))
    operator.is_told(arguments, "This user has no right to" if arguments in READING else "")
    operator.is_found("home")


@each(WRITING)
def test_a_home_that_may_not_be_written_is_told(operator: Operator, nobody: Path, arguments: list[str]) -> None:
    operator.set(HOME=str(nobody / "read only"))
    operator.is_told(arguments, "cannot be written to")
    operator.is_found("home")


@each(WRITING)
def test_a_home_that_may_not_be_made_is_told(operator: Operator, nobody: Path, arguments: list[str]) -> None:
    operator.set(HOME=str(nobody / "read only" / "below"))
    operator.is_told(arguments, "cannot be made")
    operator.is_found("home")


@each(READING)
def test_a_read_only_home_is_read_or_told(operator: Operator, nobody: Path, arguments: list[str]) -> None:
    """Where SQLite can read it the answer is the book's (404: nothing of that name is in it)."""
    operator.set(HOME=str(nobody / "read only"))
    ended = operator.types(arguments)
    assert "Traceback" not in ended.err
    assert ended.status in (0, 1, 2)
    if ended.status == 2:
        (line,) = ended.err.splitlines()
        assert " cure: " in line


@each([["serve", "--port", "0"], ["serve", "--no-workers", "--port", "0"], ["worker", "gpu"], ["worker", "llm"], ["worker", "upkeep"]])
@pytest.mark.parametrize("url", ["redis://:hidden-password@127.0.0.1:1/0", "nonsense://host", "redis://:hidden-password@host:port/0"])
def test_a_dead_or_unknown_broker_is_told(operator: Operator, arguments: list[str], url: str) -> None:
    migrate.upgrade(f"sqlite:///{operator.home / 'glossator.db'}")
    operator.set(BROKER_URL=url)
    operator.is_told(arguments, "The broker", "GLOSSATOR_BROKER_URL")


def test_doctor_finds_a_dead_broker_and_those_who_read_do_not_need_it(operator: Operator) -> None:
    migrate.upgrade(f"sqlite:///{operator.home / 'glossator.db'}")
    operator.set(BROKER_URL="redis://:hidden-password@127.0.0.1:1/0")
    operator.is_found("broker")
    assert operator.types(["job", "list"]).status == 0
    assert operator.types(["db", "upgrade"]).status == 0


@each(ASKING)
@pytest.mark.parametrize(
    "url", ["", "localhost:8420", "http://[::1/v1", "http://127.0.0.1:1", "ftp://127.0.0.1", "http://127.0.0.1:99999", f"http://{'x' * 70}"]
)
def test_a_server_that_is_not_there_is_told(operator: Operator, arguments: list[str], url: str) -> None:
    operator.set(API_URL=url)
    operator.is_told(arguments, "o server answers at")


@each([*READING, *ASKING])
def test_another_program_in_the_place_of_the_server_is_told(operator: Operator, stranger: str, arguments: list[str]) -> None:
    operator.set(API_URL=stranger)
    operator.is_told(arguments, stranger, "GLOSSATOR_API_URL")


def test_doctor_names_misspelt_and_wrong_settings_and_an_open_address(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    operator.set(HOST="0.0.0.0")
    operator.is_found("address")
    operator.set(HOST="127.0.0.1", PORTS="1")
    operator.is_found("settings")
    assert "GLOSSATOR_PORT?" in operator.types(["doctor"]).err


def test_doctor_names_the_server_of_a_home_and_demo_waits_for_it(operator: Operator, embedded: Settings) -> None:
    operator.set(HOME=str(embedded.home))
    with Service(embedded, "127.0.0.1", 0, workers=False) as service:
        found = {finding["name"]: finding for finding in json.loads(operator.types(["doctor", "--json"]).out)}
        assert service.url in found["home"]["detail"]
        for arguments in (["serve", "--port", "0"], ["demo", "--home", str(embedded.home), "--job", "JOB"]):
            operator.is_told(arguments, f"Process {os.getpid()} listens at {service.url}.", "GLOSSATOR_HOME")


def test_variables_of_kubernetes_are_no_typing_errors(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "GLOSSATOR_API_PORT": "tcp://10.0.0.1:80",
        "GLOSSATOR_API_SERVICE_HOST": "10.0.0.1",
        "GLOSSATOR_API_SERVICE_PORT": "80",
        "GLOSSATOR_API_PORT_80_TCP": "tcp://10.0.0.1:80",
        "GLOSSARY_HOME": "/another/program",
    }.items():
        monkeypatch.setenv(name, value)
    ended = operator.types(["db", "upgrade"])
    assert (ended.status, ended.err) == (0, "")


def spoil(file: Path, upgraded: Path, kind: str) -> str:
    """Puts something wrong in the place of a database; the words that tell it."""
    match kind:
        case "garbage":
            file.write_bytes(os.urandom(8192))
            return "is no SQLite database"
        case "damaged":
            content = upgraded.read_bytes()
            file.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
            return "is damaged"
        case "newer":
            shutil.copy(upgraded, file)
            with closing(sqlite3.connect(file)) as connection:
                connection.execute("UPDATE alembic_version SET version_num = '9999'")
                connection.commit()
            return "made by another version"
        case _:
            file.mkdir()
            return "does not answer"


def spoil_home(operator: Operator, kind: str) -> None:
    operator.home.write_text("")
    if kind == "below a file":
        operator.set(HOME=str(operator.home / "below"))


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of this version, closed."""
    file = tmp_path_factory.mktemp("upgraded") / "glossator.db"
    migrate.upgrade(f"sqlite:///{file}")
    return file


@pytest.fixture
def nobody(upgraded: Path) -> Iterator[Path]:
    """Folders that this process may not write or enter, for as long as the test lasts: root becomes a user without rights."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, mode in (("read only", 0o555), ("shut", 0o000)):
            (root / name).mkdir()
            shutil.copy(upgraded, root / name / "glossator.db")
            (root / name).chmod(mode)
        root.chmod(0o755)
        user = os.getuid()
        if user == 0:
            os.setresuid(65534, 65534, 0)
        try:
            yield root
        finally:
            if user == 0:
                os.setresuid(0, 0, 0)
            for name in ("read only", "shut"):
                (root / name).chmod(0o755)


@pytest.fixture(scope="module")
def stranger() -> Iterator[str]:
    """A server of something else, which answers everything with a page."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"<html>It works!</html>"
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_arguments: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


# A disk without room.


def readiness(found: Settings) -> tuple[int, dict[str, str]]:
    with httpx.Client(transport=InProcess(create_app(found)), base_url="http://test") as http:
        answer = http.get("/readyz")
    return answer.status_code, answer.json()["checks"]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_readiness_and_doctor_see_a_disk_that_takes_nothing(operator: Operator, monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    found = Settings(home=operator.home)
    migrate.upgrade(found.database_url)
    assert readiness(found)[0] == 200
    monkeypatch.setattr("interp.config.home.tempfile.TemporaryFile", Mock(side_effect=OSError(error, os.strerror(error))))
    status, checks_ = readiness(found)
    assert status == 503, "a book in a file takes no job then"
    assert ("is full" if error != errno.EROFS else "cannot be written to") in checks_["disk"]
    assert checks_["database"] == "ok"
    operator.is_found("home", "artifacts")
    operator.is_told(["serve", "--port", "0"], str(operator.home))


def test_readiness_sees_a_disk_that_is_nearly_full(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Settings(home=operator.home)
    migrate.upgrade(found.database_url)
    real = os.statvfs

    def nearly_full(path: Path) -> os.statvfs_result:
        return os.statvfs_result([*real(path)[:4], 3, *real(path)[5:]])

    monkeypatch.setattr("interp.config.home.os.statvfs", nearly_full)
    status, said = readiness(found)
    assert status == 503
    assert "Free some space" in said["disk"]
    operator.is_found("home")


def test_an_api_on_a_database_server_stays_in_service_and_tells_of_its_artifacts(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate.upgrade(postgres_url)
    found = Settings(home=tmp_path, database_url=postgres_url, broker_url="redis://127.0.0.1:1/0")
    monkeypatch.setattr("interp.config.home.tempfile.TemporaryFile", Mock(side_effect=OSError(errno.ENOSPC, "full")))
    status, said = readiness(found)
    assert status == 200
    assert "is full" in said["artifacts"]
    assert "disk" not in said


@pytest.mark.parametrize("kind", ["garbage", "damaged", "folder"])
def test_an_api_whose_database_is_none_answers_503_and_commands_pass_it_on_in_one_line(tmp_path: Path, upgraded: Path, kind: str) -> None:
    words = spoil(tmp_path / "glossator.db", upgraded, kind)
    with httpx.Client(transport=InProcess(create_app(Settings(home=tmp_path))), base_url="http://test") as http:
        answer = http.get("/v1/jobs")
    assert answer.status_code == 503
    assert words in answer.json()["detail"]
    assert answer.json()["cure"]
    refusal = known(ApiError(answer.json()))
    assert refusal is not None and refusal.exit_status == 2


def test_the_old_setting_and_the_old_option_are_refused(operator: Operator) -> None:
    operator.is_told(["serve", "--i-know-there-is-no-login"], "There is no --i-know-there-is-no-login any more", "glossator keys create")
    operator.set(I_KNOW_THERE_IS_NO_LOGIN="true")
    operator.is_told(["config"], "is no setting any more", "glossator keys create")
