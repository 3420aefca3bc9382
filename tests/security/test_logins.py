"""Users of an OpenID Connect provider log in, and nobody else does."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from joserfc.jwk import RSAKey

from api.app import create_app
from api.http.access.oidc import _owner
from api.routes.logins import PLAIN
from api.routes.sessions import name_of
from benches.in_process import InProcess
from interp.config.settings import Settings
from interp.domain.access import Scope
from interp.domain.errors import SettingsInvalidError
from interp.store.access import keys
from interp.store.db.engine import make_engine, transaction
from tests import databases
from tests.security.provider import CLIENT, SECRET, Provider, serving

SESSION = name_of({"scheme": "http"})


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    with serving() as found:
        yield found


@pytest.fixture
def provider(running: Provider) -> Provider:
    fresh = Provider()
    running.user, running.changed, running.published = fresh.user, fresh.changed, running.key
    running.codes.clear()
    running.asked.clear()
    return running


@pytest.fixture(scope="module")
def settings(running: Provider, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    found = Settings(
        home=tmp_path_factory.mktemp("logins"),
        oidc_issuer=running.issuer,
        oidc_client_id=CLIENT,
        oidc_client_secret=SECRET,
        oidc_scopes={"interp-team": ["submit"], "admins": ["admin"], "example.org": ["read"]},
    )
    databases.upgrade(found.database_url)
    engine = make_engine(found.database_url)
    with transaction(engine) as session:
        keys.create(session, "admin", [Scope.ADMIN], "test")
    engine.dispose()
    return found


@pytest.fixture
def browser(settings: Settings, provider: Provider) -> Iterator[httpx.Client]:
    with httpx.Client(transport=InProcess(create_app(settings)), base_url="http://localhost") as client:
        yield client


def begun(browser: httpx.Client, to: str = "/docs") -> str:
    """Where the provider sends the browser back to, after it has logged the user in."""
    sent = browser.get("/v1/session/login", params={"next": to})
    assert sent.status_code == 302, sent.text
    back: str = httpx.get(sent.headers["location"]).headers["location"]
    return back.replace("http://localhost", "")


def refused(browser: httpx.Client, back: str) -> str:
    answer = browser.get(back)
    assert (answer.status_code, answer.json()["code"]) == (403, "login-refused"), answer.text
    assert SESSION not in browser.cookies
    return str(answer.json()["why"])


def test_a_user_logs_in_and_has_the_scopes_of_the_groups(browser: httpx.Client, provider: Provider) -> None:
    answer = browser.get(begun(browser, "/docs#x"))
    assert (answer.status_code, answer.headers["location"]) == (302, "/docs#x")
    assert PLAIN not in browser.cookies, "the login's own cookie has done its work"
    found = browser.get("/v1/session").json()
    assert (found["name"], found["scopes"]) == ("carol@example.org", ["submit"])
    assert browser.post("/v1/jobs/none/cancel", headers={"x-csrf-token": found["csrf_token"]}).status_code == 404
    assert browser.get("/v1/keys").status_code == 403
    assert browser.delete("/v1/session", headers={"x-csrf-token": found["csrf_token"]}).status_code == 200
    assert browser.get("/v1/jobs").status_code == 401


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("wrong nonce", {"nonce": "another"}),
    ("no nonce", {"nonce": None}),
    ("wrong audience", {"aud": "another"}),
    ("authorized for another", {"aud": [CLIENT, "another"], "azp": "another"}),
    ("wrong issuer", {"iss": "https://evil.example"}),
    ("expired", {"exp": int(time.time()) - 3600}),
    ("not yet", {"nbf": int(time.time()) + 3600}),
    ("no subject", {"sub": None}),
    ("unknown group", {"groups": ["others"]}),
    ("no groups", {"groups": None}),
    ("groups of another type", {"groups": {"interp-team": True}}),
]


@pytest.mark.parametrize("changed", [changed for _, changed in WRONG], ids=[name for name, _ in WRONG])
def test_a_token_that_is_not_for_this_login_is_refused(browser: httpx.Client, provider: Provider, changed: dict[str, Any]) -> None:
    provider.changed = changed
    assert refused(browser, begun(browser))


def test_clocks_may_differ_a_little(browser: httpx.Client, provider: Provider) -> None:
    provider.changed = {"exp": int(time.time()) - 20}
    assert browser.get(begun(browser)).status_code == 302


def test_a_signature_by_another_key_is_refused(browser: httpx.Client, provider: Provider) -> None:
    provider.published = RSAKey.generate_key(2048, {"kid": "1"})
    assert "BadSignature" in refused(browser, begun(browser))


def test_a_code_is_used_once(browser: httpx.Client, provider: Provider) -> None:
    back = begun(browser)
    kept = browser.cookies[PLAIN]
    assert browser.get(back).status_code == 302
    browser.cookies.clear()
    assert "cookie" in refused(browser, back)
    browser.cookies.set(PLAIN, kept)
    assert "invalid_grant" in refused(browser, back), "the provider refuses it, too"


def test_a_login_of_another_browser_is_refused(browser: httpx.Client, provider: Provider, settings: Settings) -> None:
    """An attacker's own login, whose end a user is made to follow."""
    with httpx.Client(transport=InProcess(create_app(settings)), base_url="http://localhost") as attacker:
        back = begun(attacker)
    assert "cookie" in refused(browser, back)
    begun(browser)
    assert "state" in refused(browser, back)
    assert "/token" not in provider.asked


@pytest.mark.parametrize(
    "query", ["", "?state=x", "?code=x", "?error=access_denied&error_description=no&state=x", "?code=%00", "?code=x&state=" + "x" * 3000]
)
def test_what_is_no_login_asks_the_provider_nothing(browser: httpx.Client, provider: Provider, query: str) -> None:
    begun(browser)
    provider.asked.clear()
    assert browser.get(f"/v1/session/callback{query}").status_code in (403, 422)
    assert provider.asked == []


@pytest.mark.parametrize("to", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "", "docs", "/a\r\nX: y"])
def test_a_login_leads_to_this_server_alone(browser: httpx.Client, provider: Provider, to: str) -> None:
    assert browser.get(begun(browser, to)).headers["location"] == "/"


def test_a_verified_address_gives_the_scopes_of_its_domain(settings: Settings, provider: Provider) -> None:
    of_domain = settings.model_copy(update={"oidc_claim": "email_domain"})
    with httpx.Client(transport=InProcess(create_app(of_domain)), base_url="http://localhost") as browser:
        assert browser.get(begun(browser)).status_code == 302
        assert browser.get("/v1/session").json()["scopes"] == ["read"]
        browser.cookies.clear()
        provider.changed = {"email_verified": False}
        assert refused(browser, begun(browser))


def test_a_provider_that_is_away_is_told(settings: Settings, provider: Provider) -> None:
    away = settings.model_copy(update={"oidc_issuer": "http://127.0.0.1:1"})
    other = settings.model_copy(update={"oidc_issuer": f"{provider.issuer}/tenant"})
    for changed in (away, other):
        with httpx.Client(transport=InProcess(create_app(changed)), base_url="http://localhost") as browser:
            answer = browser.get("/v1/session/login")
            assert (answer.status_code, answer.json()["code"]) == (503, "login-provider-silent")


def test_without_a_provider_there_are_no_logins(tmp_path: Any) -> None:
    settings = Settings(home=tmp_path)
    databases.upgrade(settings.database_url)
    with httpx.Client(transport=InProcess(create_app(settings)), base_url="http://localhost") as browser:
        assert browser.get("/v1/session/login").json()["code"] == "login-not-set-up"
    with pytest.raises(SettingsInvalidError, match="oidc_client_id"):
        Settings(oidc_issuer="https://login.example.org")
    with pytest.raises(SettingsInvalidError, match="TLS"):
        Settings(oidc_issuer="http://login.example.org", oidc_client_id="a", oidc_scopes={"b": ["read"]})


def test_users_of_two_issuers_are_two() -> None:
    names = {_owner(issuer, subject) for issuer in ("https://a.example", "https://b.example") for subject in ("1", "2", "x" * 400, "\n")}
    assert len(names) == 8
    assert all(len(name) <= 255 and name.isprintable() for name in names)
