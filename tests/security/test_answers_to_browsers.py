"""Every answer tells a browser its rules; listed origins alone may use the API."""

import re
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import anyio
import httpx
import pytest

from api.app import create_app
from api.http import request_log
from benches.in_process import InProcess
from interp.config.settings import Settings
from interp.domain.errors import SettingsInvalidError
from tests import databases

APP, OTHER = "https://app.example.org", "https://evil.example"
KEY = {"Authorization": "Bearer x"}
PREFLIGHT = {"Origin": APP, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization, content-type, idempotency-key"}
WRITE = "/v1/jobs/none/cancel"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("browsers")
    databases.upgrade(f"sqlite:///{folder / 'glossator.db'}")
    return folder


@contextmanager
def serving(home: Path, **values: Any) -> Iterator[httpx.Client]:
    app = create_app(Settings(home=home, **values))
    with httpx.Client(transport=InProcess(app), base_url="http://localhost") as client:
        yield client


@pytest.fixture(scope="module")
def listed(home: Path) -> Iterator[httpx.Client]:
    with serving(home, cors_origins=APP, trusted_proxies="127.0.0.0/8") as client:
        yield client


@pytest.mark.parametrize("path", ["/docs", "/v1/jobs", "/none", "/v1/jobs?x=1", "/static/swagger-ui/swagger-ui.css", "/healthz", "/problems"])
def test_every_answer_is_protected(listed: httpx.Client, path: str) -> None:
    headers = listed.get(path, headers={"Accept": "text/html"}).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    policy = directives(headers["content-security-policy"])
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == ["'none'"]
    assert "'unsafe-inline'" not in policy.get("script-src", []) and "'unsafe-eval'" not in policy.get("script-src", [])
    assert "strict-transport-security" not in headers


def test_refusals_and_defects_are_protected_too(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.reads.jobs.jobs", lambda *_: 1 / 0)
    with serving(home, cors_origins=APP) as client:
        defect = client.get("/v1/jobs", headers={"Origin": APP})
        foreign = client.get("/v1/jobs", headers={"Host": "evil.example"})
    assert (defect.status_code, foreign.status_code) == (500, 421)
    for answer in (defect, foreign):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/docs", "/problems", "/problems/internal"])
def test_pages_run_their_own_scripts_and_styles_alone(listed: httpx.Client, path: str) -> None:
    page = listed.get(path, headers={"Accept": "text/html"})
    policy = directives(page.headers["content-security-policy"])
    for kind in ("script", "style"):
        for text in re.findall(rf"<{kind}>(.*?)</{kind}>", page.text, re.DOTALL):
            assert f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" in policy[f"{kind}-src"]
    for file in re.findall(r'(?:src|href)="([^"]+\.(?:js|css|png))"', page.text):
        assert listed.get(file).status_code == 200
        assert "'self'" in policy["script-src"]


def test_tls_is_demanded_behind_tls_alone(listed: httpx.Client) -> None:
    proxied = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}
    assert "max-age=" in listed.get("/healthz", headers=proxied).headers["strict-transport-security"]
    assert "strict-transport-security" not in listed.get("/healthz", headers=proxied | {"X-Forwarded-Proto": "http"}).headers


@pytest.mark.parametrize("path", ["/v1/keys", "/v1/session", "/v1/audit"])
def test_answers_with_secrets_are_not_stored(listed: httpx.Client, path: str) -> None:
    assert listed.get(path).headers["cache-control"] == "no-store"
    assert "cache-control" not in listed.get("/v1/jobs").headers


def test_the_log_names_the_client_behind_the_proxy(listed: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Mock()
    monkeypatch.setattr(request_log, "log", log)
    listed.get("/healthz", headers={"X-Forwarded-For": "198.51.100.9, 203.0.113.7"})
    listed.get("/healthz")
    assert [call.kwargs["client"] for call in log.debug.call_args_list] == ["203.0.113.7", "127.0.0.1"]


def test_a_listed_origin_reads(listed: httpx.Client) -> None:
    answer = listed.get("/v1/jobs", headers={"Origin": APP, "Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == APP
    assert "RateLimit" in answer.headers["access-control-expose-headers"]
    assert "Origin" in answer.headers["vary"]
    assert "Origin" in listed.get("/v1/jobs").headers["vary"]
    assert "access-control-allow-credentials" not in answer.headers


def test_a_listed_origin_writes_with_a_key(listed: httpx.Client) -> None:
    """The preflight and the write agree: what one allows, the other does."""
    preflight = listed.options(WRITE, headers=PREFLIGHT)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == APP
    assert "access-control-allow-credentials" not in preflight.headers
    site = {"Origin": APP, "Sec-Fetch-Site": "cross-site"}
    heard = listed.post(WRITE, headers=site | KEY)
    assert heard.status_code in (401, 404)
    assert heard.headers["access-control-allow-origin"] == APP
    refused = listed.post(WRITE, headers=site)
    assert (refused.status_code, refused.json()["code"]) == (403, "cross-site-refused")
    assert "Authorization" in refused.json()["cure"]


@pytest.mark.parametrize("origin", [OTHER, "null", f"{APP}.evil.example", "http://app.example.org", f"{APP}:8443", f"{APP}, {OTHER}"])
def test_other_origins_neither_read_nor_write(listed: httpx.Client, origin: str) -> None:
    assert "access-control-allow-origin" not in listed.get("/v1/jobs", headers={"Origin": origin}).headers
    assert "access-control-allow-origin" not in listed.options(WRITE, headers=PREFLIGHT | {"Origin": origin}).headers
    refused = listed.post(WRITE, headers=KEY | {"Origin": origin, "Sec-Fetch-Site": "cross-site"})
    assert refused.status_code == 403
    assert "GLOSSATOR_CORS_ORIGINS" in refused.json()["cure"]


def test_without_a_list_no_origin_reads(home: Path) -> None:
    with serving(home) as client:
        assert "access-control-allow-origin" not in client.get("/v1/jobs", headers={"Origin": APP}).headers
        assert client.options(WRITE, headers=PREFLIGHT).status_code == 405


def test_any_origin_never_comes_with_credentials(home: Path) -> None:
    with serving(home, cors_origins="*") as client:
        for answer in (client.get("/v1/jobs", headers={"Origin": OTHER, "Cookie": "a=b"}), client.options(WRITE, headers=PREFLIGHT)):
            assert answer.headers["access-control-allow-origin"] == "*"
            assert "access-control-allow-credentials" not in answer.headers
        site = {"Origin": OTHER, "Sec-Fetch-Site": "cross-site"}
        assert client.post(WRITE, headers=site).status_code == 403
        assert client.post(WRITE, headers=site | KEY).status_code in (401, 404)


@pytest.mark.parametrize("wrong", ["app.example.org", "https://app.example.org/", "https://APP.example.org", "https://*.example.org", "null"])
def test_the_setting_takes_origins_alone(wrong: str) -> None:
    with pytest.raises(SettingsInvalidError, match="GLOSSATOR_CORS_ORIGINS"):
        Settings(cors_origins=wrong)


def directives(policy: str) -> dict[str, list[str]]:
    return {name: sources for name, *sources in (part.split() for part in policy.split(";"))}


def test_a_client_that_goes_away_before_it_is_read_is_no_fault_of_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Mock()
    monkeypatch.setattr(request_log, "log", log)

    async def silent(*_: Any) -> None:
        """Answers nothing, as where the client is gone."""

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "client": ("127.0.0.1", 1)}
    anyio.run(request_log.RequestLog(silent, Mock()), scope, Mock(), Mock())
    assert [call.kwargs["status"] for call in log.debug.call_args_list] == [499]
    log.error.assert_not_called()
