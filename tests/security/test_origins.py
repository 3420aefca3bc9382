"""Web pages of others reach no server of this machine: neither under a name of theirs, nor by sending what they may not read."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from api.app import create_app
from api.http.edge.origins import AllowedHosts, host_of
from benches.in_process import InProcess
from interp.config.settings import Settings
from interp.domain.errors import SettingsInvalidError
from tests import databases
from tests.security.test_requests import SPEC

LOCAL = ["localhost", "localhost:8420", "127.0.0.1", "127.0.0.1:8420", "127.9.9.9:1", "[::1]:8420", "LOCALHOST", "localhost.", "a.localhost:8420"]
FOREIGN = [
    "evil.example",
    "evil.example:8420",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "localhost:8420@evil.example",
    "evil.example#localhost",
    "192.0.2.1",
    "[2001:db8::1]:8420",
    "0.0.0.0",
    "[::1",
    "[::1]evil",
    "localhost:port",
    "localhost:",
    "localhost\u00e9",
    "",
    "a, localhost",
]
UNSAFE = [
    ("POST", "/v1/jobs"),
    ("POST", "/v1/jobs/x/cancel"),
    ("PUT", "/v1/dictionaries/x/current-run"),
    ("DELETE", "/v1/dictionaries/x/current-run"),
]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    home: Path = tmp_path_factory.mktemp("origins")
    settings = Settings(home=home / "home", database_url=f"sqlite:///{home / 'book.db'}", broker_url=f"filesystem://{home / 'broker'}")
    databases.upgrade(settings.database_url)
    with httpx.Client(transport=InProcess(create_app(settings)), base_url="http://localhost") as client:
        yield client


def hosts(**values: object) -> AllowedHosts:
    return AllowedHosts.of(Settings(database_url="sqlite://", **values))


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/dictionaries", "/metrics", "/healthz", "/readyz", "/docs", "/openapi.json", "/static/x", "/none"])
def test_a_name_of_an_attacker_reaches_nothing(local: httpx.Client, path: str) -> None:
    answer = local.get(path, headers={"Host": "evil.example"})
    assert answer.status_code == 421
    assert answer.json()["code"] == "host-refused"
    assert "GLOSSATOR_ALLOWED_HOSTS" in answer.json()["cure"]


@pytest.mark.parametrize("host", FOREIGN)
def test_only_this_machines_names_are_answered(local: httpx.Client, host: str) -> None:
    assert not hosts().permit(host)
    answer = local.get("/healthz", headers=[(b"Host", host.encode())])
    assert answer.status_code == 421, answer.text


@pytest.mark.parametrize("host", LOCAL)
def test_names_of_this_machine_are_answered(local: httpx.Client, host: str) -> None:
    assert hosts().permit(host)
    assert local.get("/healthz", headers={"Host": host}).status_code == 200


def test_two_hosts_are_none(local: httpx.Client) -> None:
    assert local.get("/healthz", headers=[("Host", "localhost"), ("Host", "evil.example")]).status_code == 421


def test_a_server_of_all_addresses_takes_addresses_and_named_hosts() -> None:
    for every in ("0.0.0.0", "::"):
        cluster = hosts(host=every, allowed_hosts="api,*.glossator.example.org")
        # Probes and scrapers of an orchestrator name the pod's address.
        permitted = ["10.1.2.3:8420", "[fd00::5]:8420", "api", "api:8420", "x.glossator.example.org", "127.0.0.1"]
        assert [host for host in permitted if not cluster.permit(host)] == []
        refused = ["evil.example", "glossator.example.org", "xglossator.example.org", "10.1.2.3.evil.example", "apis"]
        assert [host for host in refused if cluster.permit(host)] == []


def test_a_server_of_one_address_takes_that_one() -> None:
    one = hosts(host="10.0.0.5")
    assert one.permit("10.0.0.5:8420")
    assert not one.permit("10.0.0.6:8420")
    assert hosts(host="::1").permit("[::1]:8420")
    assert hosts(allowed_hosts=("*",)).permit("anything.example")


def test_the_setting_takes_names_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOSSATOR_ALLOWED_HOSTS", '["a.example", "*.b.example"]')
    assert Settings().allowed_hosts == ("a.example", "*.b.example")
    monkeypatch.setenv("GLOSSATOR_ALLOWED_HOSTS", Settings().environment()["GLOSSATOR_ALLOWED_HOSTS"])
    assert Settings().allowed_hosts == ("a.example", "*.b.example")
    for wrong in ("http://a.example", "a.example:8420", "a b", "[1", "*a.example"):
        monkeypatch.setenv("GLOSSATOR_ALLOWED_HOSTS", wrong)
        with pytest.raises(SettingsInvalidError, match="GLOSSATOR_ALLOWED_HOSTS"):
            Settings()


@pytest.mark.parametrize(("method", "path"), UNSAFE)
@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:3000"},
        {"Sec-Fetch-Site": "same-origin, cross-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "http://localhost.evil.example"},
    ],
    ids=lambda headers: " ".join(headers.values()),
)
def test_pages_of_other_sites_change_nothing(local: httpx.Client, method: str, path: str, headers: dict[str, str]) -> None:
    answer = local.request(method, path, json=SPEC if path == "/v1/jobs" else None, headers=headers)
    assert answer.status_code == 403
    assert answer.json()["code"] == "cross-site-refused"
    assert local.get("/v1/jobs").json()["items"] == []


@pytest.mark.parametrize(
    "headers", [{}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {"Origin": "http://localhost"}, {"Origin": "https://localhost"}]
)
def test_programs_and_own_pages_are_heard(local: httpx.Client, headers: dict[str, str]) -> None:
    assert local.post("/v1/jobs/none/cancel", headers=headers).status_code == 404


def test_a_page_of_another_site_may_look_but_not_read(local: httpx.Client) -> None:
    """A link from elsewhere to /docs works; the answer says that no frame, script or image of another site may hold it."""
    for path in ("/docs", "/v1/jobs", "/none", "/v1/jobs?x=1"):
        answer = local.get(path, headers={"Sec-Fetch-Site": "cross-site"})
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "access-control-allow-origin" not in answer.headers


def test_hosts_are_read_to_the_letter() -> None:
    assert [host_of(header) for header in ("A.b:80", "[::1]:80", "[::1]", "1.2.3.4")] == ["a.b", "::1", "::1", "1.2.3.4"]
    assert [host_of(header) for header in ("[::1", "::1", "a:b", "a b", ":80", "", "[a]", "a/b", "a@b")] == [None] * 9
