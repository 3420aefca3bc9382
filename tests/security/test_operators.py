"""A clumsy operator: whatever is wrong with the installation is told by every command in one line, with its cure, before anything is done."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

from api.service import AddressTaken, LoginMissing, Service
from interp.errors import DatabaseUnfit, HomeTaken
from interp.home import HomeLock, Occupant, occupant
from interp.settings import Settings

# Ways to write an address that other machines reach, or that lead to one.
OPEN_HOSTS = ("0.0.0.0", "", "::", "0", "192.0.2.7", "10.0.0.1", "::ffff:0.0.0.0", "example.invalid")


@pytest.fixture
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("operator") / "home")


@pytest.mark.parametrize("host", OPEN_HOSTS, ids=repr)
def test_nothing_listens_where_others_reach_it_unless_that_is_meant(embedded: Settings, host: str) -> None:
    with pytest.raises(LoginMissing) as refused:
        Service(embedded, host, 0, workers=False)
    assert "--i-know-there-is-no-login" in refused.value.cure
    assert "cancel any job" in refused.value.why


def test_a_name_of_this_machine_that_leads_elsewhere_counts_by_its_address(embedded: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """`localhost` is what the machine's tables say it is."""
    bind = socket.create_server
    opened: list[socket.socket] = []

    def elsewhere(address: tuple[str, int], **options: object) -> socket.socket:
        opened.append(bind(("0.0.0.0", address[1]), **options))  # type: ignore[arg-type]
        return opened[0]

    monkeypatch.setattr(socket, "create_server", elsewhere)
    with pytest.raises(LoginMissing):
        Service(embedded, "localhost", 0, workers=False)
    assert opened[0].fileno() == -1, "it is closed again"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.9"])
def test_loopback_needs_nothing(embedded: Settings, host: str) -> None:
    with Service(embedded, host, 0, workers=False) as service:
        assert service.url


def test_it_is_opened_by_a_setting(embedded: Settings) -> None:
    with Service(embedded.model_copy(update={"i_know_there_is_no_login": True}), "0.0.0.0", 0, workers=False) as service:
        assert service.url.startswith("http://0.0.0.0:")


# Two servers on one home.


def test_a_second_server_on_a_home_says_where_the_first_is(embedded: Settings) -> None:
    with Service(embedded, "127.0.0.1", 0, workers=False) as first:
        with pytest.raises(HomeTaken) as taken:
            Service(embedded, "127.0.0.1", 0, workers=False)
        assert f"Process {os.getpid()} listens at {first.url}." == taken.value.why
        assert occupant(embedded.home) == Occupant(os.getpid(), first.url)
    assert occupant(embedded.home) is None
    with Service(embedded, "127.0.0.1", 0, workers=False):
        pass


def test_a_server_that_fails_to_start_gives_the_home_up(embedded: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with Service(embedded.model_copy(update={"home": embedded.home / "other"}), "127.0.0.1", 0, workers=False) as first:
        port = int(first.url.rpartition(":")[2])
        with pytest.raises(AddressTaken):
            Service(embedded, "127.0.0.1", port, workers=False)
    with monkeypatch.context() as patched:
        patched.setattr("api.service.migrate.upgrade", Mock(side_effect=DatabaseUnfit("x")))
        with pytest.raises(DatabaseUnfit), Service(embedded, "127.0.0.1", 0, workers=False):
            pass
    with Service(embedded, "127.0.0.1", 0, workers=False):
        pass


def test_a_killed_server_leaves_no_lock_behind(tmp_path: Path) -> None:
    """kill -9: the file still names the dead process, and nobody believes it."""
    code = f"from pathlib import Path; from interp.home import HomeLock; l = HomeLock(Path({str(tmp_path)!r})); l.name('http://x'); print(1, flush=True); input()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdin
    process.stdout.readline()
    with pytest.raises(HomeTaken, match=f"Process {process.pid} listens at http://x"):
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
        with pytest.raises(HomeTaken, match="A process of this machine is starting"):
            HomeLock(tmp_path)
    lock.release()


def test_servers_of_a_cluster_may_share_a_home(tmp_path: Path) -> None:
    assert not Settings(home=tmp_path, database_url="postgresql://host/name", broker_url="redis://host").is_alone
    assert Settings(home=tmp_path, database_url="postgresql://host/name").is_alone
    assert Settings(home=tmp_path, broker_url="redis://host").is_alone
