"""A browser's session ends when it should, and no other site writes with its cookie."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, select, update

from api.app import create_app
from api.http.access.cookies import OVER_TLS, PLAIN
from benches.in_process import InProcess
from interp.config.settings import Settings
from interp.domain.access import Principal, Scope
from interp.domain.errors import SettingsInvalidError
from interp.store.access import keys, sessions
from interp.store.db.engine import make_engine, snapshot, transaction
from interp.store.db.tables import BrowserSessionRow, SharedSecretRow
from tests import databases

WRITE = "/v1/jobs/none/cancel"
TLS = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else ""
    found = Settings(home=tmp_path_factory.mktemp("sessions"), database_url=url, trusted_proxies="127.0.0.0/8")
    databases.upgrade_and_empty(found.database_url)
    return found


@pytest.fixture(scope="module")
def engine(settings: Settings) -> Iterator[Engine]:
    engine = make_engine(settings.database_url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def alice(engine: Engine) -> keys.NewKey:
    with transaction(engine) as session:
        return keys.create(session, "alice", [Scope.SUBMIT], "test")


@contextmanager
def process(settings: Settings) -> Iterator[httpx.Client]:
    """An API process of its own, as a browser with its cookies sees it."""
    with httpx.Client(transport=InProcess(create_app(settings)), base_url="http://localhost") as client:
        yield client


@pytest.fixture
def browser(settings: Settings) -> Iterator[httpx.Client]:
    with process(settings) as client:
        yield client


def log_in(browser: httpx.Client, key: keys.NewKey, **headers: str) -> dict[str, Any]:
    answer = browser.post("/v1/session", headers={"x-api-key": key.text} | headers)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_key_begins_a_session_whose_cookie_scripts_cannot_read(browser: httpx.Client, alice: keys.NewKey) -> None:
    answer = browser.post("/v1/session", headers={"x-api-key": alice.text})
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{PLAIN}=")
    assert {"HttpOnly", "SameSite=lax", "Path=/", "Max-Age=43200"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert answer.headers["cache-control"] == "no-store"
    assert alice.text not in cookie
    found = browser.get("/v1/session").json()
    assert found == answer.json()
    assert (found["name"], found["scopes"]) == ("alice", ["submit"])


def test_behind_tls_the_cookie_is_for_tls_and_this_host_alone(browser: httpx.Client, alice: keys.NewKey) -> None:
    cookie = browser.post("/v1/session", headers={"x-api-key": alice.text} | TLS).headers["set-cookie"]
    assert cookie.startswith(f"{OVER_TLS}=")
    assert {"Secure", "HttpOnly", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))
    value = cookie.split(";")[0]
    assert browser.get("/v1/session", headers=TLS | {"Cookie": value}).status_code == 200
    plain = value.replace(OVER_TLS, PLAIN)
    assert browser.get("/v1/session", headers=TLS | {"Cookie": plain}).status_code == 401, "as another site of the domain could set it"


def test_a_write_with_a_cookie_needs_its_sessions_token(browser: httpx.Client, settings: Settings, alice: keys.NewKey) -> None:
    token = log_in(browser, alice)["csrf_token"]
    with process(settings) as other:
        others = log_in(other, alice)["csrf_token"]
    assert browser.post(WRITE, headers={"x-csrf-token": token}).status_code == 404
    assert browser.get("/v1/jobs").status_code == 200
    for wrong in ({}, {"x-csrf-token": ""}, {"x-csrf-token": others}, {"x-csrf-token": token + "x"}, {"x-csrf-token": "é".encode()}):
        refused = browser.post(WRITE, headers=wrong)
        assert (refused.status_code, refused.json()["code"]) == (403, "csrf-token-missing")
    assert browser.post(WRITE, headers={"x-api-key": alice.text}).status_code == 404, "a key needs none, and comes first"
    cross = {"x-csrf-token": token, "Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert browser.post(WRITE, headers=cross).json()["code"] == "cross-site-refused"


def test_logging_out_ends_the_session_in_every_process(settings: Settings, browser: httpx.Client, alice: keys.NewKey) -> None:
    token = log_in(browser, alice)["csrf_token"]
    cookie = {"Cookie": f"{PLAIN}={browser.cookies[PLAIN]}"}
    with process(settings) as other:
        assert other.get("/v1/jobs", headers=cookie).status_code == 200
        assert browser.delete("/v1/session").status_code == 403
        ended = browser.delete("/v1/session", headers={"x-csrf-token": token})
        assert (ended.status_code, PLAIN in browser.cookies) == (200, False)
        assert other.get("/v1/jobs", headers=cookie).status_code == 401


def test_a_revoked_key_ends_its_sessions_at_once(browser: httpx.Client, engine: Engine) -> None:
    with transaction(engine) as session:
        bob = keys.create(session, "bob", [Scope.READ], "test")
    log_in(browser, bob)
    assert browser.get("/v1/jobs").status_code == 200
    with transaction(engine) as session:
        keys.revoke(session, bob.row.id)
    assert browser.get("/v1/jobs").status_code == 401


def test_a_session_ends_by_itself(browser: httpx.Client, engine: Engine, alice: keys.NewKey) -> None:
    log_in(browser, alice)
    with transaction(engine) as session:
        session.execute(update(BrowserSessionRow).values(expires_at=datetime.now(UTC) - timedelta(seconds=1)))
    assert browser.get("/v1/jobs").status_code == 401
    log_in(browser, alice)
    with snapshot(engine) as session:
        assert len(session.scalars(select(BrowserSessionRow)).all()) == 1, "ended ones are removed by the next login"


def test_an_id_from_before_the_login_is_not_taken_over(browser: httpx.Client, alice: keys.NewKey) -> None:
    log_in(browser, alice)
    before = browser.cookies[PLAIN]
    token = browser.get("/v1/session").json()["csrf_token"]
    again = browser.post("/v1/session", headers={"x-csrf-token": token})
    assert again.status_code == 201
    assert browser.cookies[PLAIN] != before
    assert browser.get("/v1/jobs", headers={"Cookie": f"{PLAIN}={before}"}).status_code == 401, "the one before has ended"


@pytest.mark.parametrize("kind", ["unsigned", "changed", "signed by another", "twice", "long", "nothing"])
def test_what_was_not_signed_here_is_no_session(browser: httpx.Client, alice: keys.NewKey, kind: str) -> None:
    log_in(browser, alice)
    good = browser.cookies[PLAIN]
    session_id, _, signature = good.rpartition(".")
    values = {
        "unsigned": [session_id],
        "changed": [f"x{session_id[1:]}y.{signature}", f"{session_id}.{signature[::-1]}"],
        "signed by another": [f"{session_id}.{'A' * len(signature)}"],
        "twice": [f"{good}; {PLAIN}=x"],
        "long": [good + "x" * 300],
        "nothing": ["", ".", "\x7f"[:0]],
    }[kind]
    browser.cookies.clear()
    for value in values:
        assert browser.get("/v1/jobs", headers={"Cookie": f"{PLAIN}={value}"}).status_code == 401


def test_processes_share_one_secret_and_the_database_holds_no_session(settings: Settings, engine: Engine, alice: keys.NewKey) -> None:
    with process(settings) as one, process(settings) as other:
        log_in(one, alice)
        session_id = one.cookies[PLAIN].rpartition(".")[0]
        assert other.get("/v1/jobs", headers={"Cookie": f"{PLAIN}={one.cookies[PLAIN]}"}).status_code == 200
    with snapshot(engine) as session:
        assert len(session.scalars(select(SharedSecretRow.value)).all()) == 1
        assert session_id not in session.scalars(select(BrowserSessionRow.digest)).all()


def test_another_secret_of_the_settings_ends_all_sessions(settings: Settings, browser: httpx.Client, alice: keys.NewKey) -> None:
    log_in(browser, alice)
    changed = Settings(home=settings.home, database_url=settings.database_url, session_secret="s" * 32)
    with process(changed) as other:
        assert other.get("/v1/jobs", headers={"Cookie": f"{PLAIN}={browser.cookies[PLAIN]}"}).status_code == 401
    with pytest.raises(SettingsInvalidError, match="GLOSSATOR_SESSION_SECRET"):
        Settings(session_secret="short")


def test_a_session_is_live_as_long_as_its_key(engine: Engine, alice: keys.NewKey) -> None:
    """What streams ask, which stay open."""
    with transaction(engine) as session:
        of_key = sessions.create(session, Principal("alice", "alice", frozenset({Scope.READ}), alice.row.id), timedelta(hours=1))
        of_user = sessions.create(session, Principal("carol", "https://issuer carol", frozenset({Scope.READ})), timedelta(hours=1))
    with snapshot(engine) as session:
        assert all(sessions.is_live(session, sessions.digest_of(one.id)) for one in (of_key, of_user))
        user = sessions.sender(session, of_user.id)
        assert user is not None and (user.owner, user.key_id, user.granted) == ("https://issuer carol", None, {Scope.READ})
    with transaction(engine) as session:
        sessions.end(session, sessions.digest_of(of_user.id))
    with snapshot(engine) as session:
        assert not sessions.is_live(session, sessions.digest_of(of_user.id))


def test_a_service_without_keys_has_no_sessions(tmp_path: Any) -> None:
    settings = Settings(home=tmp_path)
    databases.upgrade(settings.database_url)
    with process(settings) as client:
        assert client.post("/v1/session").status_code == 409
        assert client.get("/v1/session").json()["csrf_token"] is None
