"""`glossator keys` and `glossator audit`: the first key before there is a server, and what each prints."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from api.app import create_app
from api.cli import connect, main
from benches.in_process import InProcess
from glossator import ApiError, Client
from interp.config.settings import Settings, settings
from interp.domain.api_key import parsed

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Runs a command on an empty home; returns its status and what it printed."""

    def call(*arguments: str, **variables: str) -> tuple[int, str, str]:
        settings.cache_clear()
        monkeypatch.setenv("GLOSSATOR_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("GLOSSATOR_PORT", "1")
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["glossator", *arguments])
        status = 0
        try:
            main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        return status, *capsys.readouterr()

    yield call
    settings.cache_clear()


def test_the_first_key_is_an_admins_and_the_next_may_read(run: Run, tmp_path: Path) -> None:
    status, first, told = run("keys", "create")
    assert status == 0
    assert parsed(first.strip()) is not None, "the key alone is on standard output"
    assert "admin" in told and "not shown again" in told
    _, second, _ = run("keys", "create", "grafana", "--days", "30", "--json")
    made = json.loads(second)
    assert made["scopes"] == ["read"] and made["expires_at"] > made["created_at"]
    with httpx.Client(transport=InProcess(create_app(Settings(home=tmp_path / "home"))), base_url="http://test") as http:
        assert http.get("/v1/keys", headers={"x-api-key": first.strip()}).status_code == 200
        assert http.get("/v1/keys", headers={"x-api-key": made["key"]}).status_code == 403


def test_keys_are_listed_without_secrets_and_revoked(run: Run) -> None:
    assert run("keys", "create", "alice", "--scope", "submit")[0] == 1, "the first is an admin's"
    key = run("keys", "create", "alice", "--scope", "submit", "--scope", "admin")[1].strip()
    prefix, secret = key.rsplit("_", 1)
    _, listed, _ = run("keys", "list")
    assert prefix in listed and "alice" in listed and "valid" in listed and secret not in listed
    assert run("keys", "revoke", prefix)[0] == 0
    assert json.loads(run("keys", "list", "--json")[1])[0]["revoked_at"] is not None
    status, _, error = run("keys", "revoke", "00000000")
    assert status == 1 and "keys list" in error
    assert run("keys", "create", "no/name")[0] == 1
    entries = json.loads(run("audit", "--json")[1])
    assert [(entry["who"], entry["action"], entry["target"]) for entry in entries] == [
        ("command line", "revoke_key", f"/v1/keys/{prefix[3:]}"),
        ("command line", "create_key", f"/v1/keys/{prefix[3:]}"),
    ]
    assert "revoke_key" in run("audit", "--action", "revoke_key", "--since", "2020-01-01")[1]
    assert json.loads(run("audit", "--until", "2020-01-01", "--json")[1]) == []
    assert secret not in str(run("audit"))


def test_commands_send_the_key_of_the_settings_or_of_a_file(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = run("keys", "create")[1].strip()
    app = create_app(Settings(home=tmp_path / "home"))
    monkeypatch.setattr(connect, "_server", lambda found: Client("http://test", InProcess(app), key=found.client_key))
    status, _, error = run("job", "list", "--json")
    assert status == 1 and "GLOSSATOR_API_KEY" in error
    assert run("--key", key, "job", "list", "--json")[:2] == (0, "[]\n")
    monkeypatch.delenv("GLOSSATOR_API_KEY", raising=False)
    file = tmp_path / "key"
    file.write_text(key + "\n")
    file.chmod(0o644)
    status, _, error = run("job", "list", GLOSSATOR_API_KEY_FILE=str(file))
    assert status == 2 and f"chmod 600 {file}" in error and key not in error
    file.chmod(0o600)
    assert run("job", "list", "--json")[:2] == (0, "[]\n")
    file.write_text("x" * 1000)
    assert run("job", "list")[0] == 2
    status, _, error = run("job", "list", GLOSSATOR_API_KEY=key[:-1])
    assert status == 2 and key[:-1] not in error


def test_the_clients_key_is_sent_and_a_wrong_one_is_told(run: Run, tmp_path: Path) -> None:
    key = run("keys", "create")[1].strip()
    app = create_app(Settings(home=tmp_path / "home"))
    with Client("http://test", InProcess(app), key=key) as client:
        assert list(client.list_jobs()) == []
    with Client("http://test", InProcess(app)) as client, pytest.raises(ApiError) as refused:
        list(client.list_jobs())
    assert refused.value.status == 401 and "glossator keys create" in refused.value.cure


def test_quotas_are_set_and_shown(run: Run) -> None:
    run("keys", "create")
    limits = ("--max-jobs", "2", "--features-per-day", "1000", "--dollars-per-month", "12.5")
    made = json.loads(run("keys", "create", "alice", "--scope", "submit", *limits, "--json")[1])
    shown = "".join(run("keys", "show", made["prefix"])[1:])
    assert "alice" in shown and "1,000" in shown and "12.5" in shown
    assert run("keys", "quota", made["id"], "--max-jobs", "3")[0] == 0
    found = json.loads(run("keys", "show", made["id"], "--json")[1])
    assert found["quota"] == {"max_jobs": 3, "features_per_day": None, "dollars_per_month": None}
    assert found["usage"] == {"jobs": 0, "features": 0, "dollars": 0.0}
    assert run("keys", "show", "00000000")[0] == 1
