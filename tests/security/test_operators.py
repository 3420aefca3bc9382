"""A clumsy operator: whatever is wrong with the installation is told by every command in one line, with its cure, before anything is done."""

import socket

import pytest

from api.service import LoginMissing, Service
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
