"""Webhooks and retention as users meet them: refused at submission, told of in the order they were owed, and listed with their tries."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from api.app import create_app
from api.cli import app
from api.cli.commands import jobs, serve
from benches.in_process import InProcess
from glossator import ApiError, Client
from interp.config.settings import Settings
from interp.domain.spec import JobSpec
from tests import databases
from tests.workers.receiver import receiver
from workers.maintenance.webhooks import deliver_due


@pytest.fixture(scope="module")
def body(tiny_job: JobSpec) -> dict[str, Any]:
    return tiny_job.model_dump(mode="json")


@pytest.fixture(scope="module")
def open_settings(service_settings: Settings) -> Settings:
    """Those of a server whose webhooks may stay on this machine."""
    return service_settings.model_copy(update={"webhook_allow_private_networks": True})


@pytest.fixture
def open_client(open_settings: Settings, store: Engine) -> Iterator[Client]:
    with Client("http://test", InProcess(create_app(open_settings))) as found:
        yield found


@pytest.fixture
def open_http(open_settings: Settings, store: Engine) -> Iterator[httpx.Client]:
    with httpx.Client(transport=InProcess(create_app(open_settings)), base_url="http://test") as found:
        yield found


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/hook", "http://localhost/hook", "https://[::1]/", "http://169.254.169.254/latest/meta-data"])
def test_a_receiver_in_a_private_network_is_refused_with_its_cure(client: Client, body: dict[str, Any], url: str) -> None:
    before = len(list(client.list_jobs()))
    with pytest.raises(ApiError) as refused:
        client.submit_job(body | {"webhook": {"url": url}})
    assert refused.value.problem["code"] == "webhook-refused"
    assert "GLOSSATOR_WEBHOOK_ALLOW_PRIVATE_NETWORKS" in refused.value.cure
    assert len(list(client.list_jobs())) == before


@pytest.mark.parametrize("url", ["ftp://example.org/", "http://", "https://user:secret@example.org/", "http://example.org/#part", "example.org"])
def test_what_is_no_url_to_post_to_is_refused(http: httpx.Client, body: dict[str, Any], url: str) -> None:
    response = http.post("/v1/jobs", json=body | {"webhook": {"url": url}})
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == ["body.webhook.url"]


def test_an_event_that_there_is_not_is_refused(http: httpx.Client, body: dict[str, Any]) -> None:
    response = http.post("/v1/jobs", json=body | {"webhook": {"url": "https://example.org", "events": ["job.started"]}})
    assert response.status_code == 422


def test_a_name_that_is_unknown_here_is_let_through(client: Client, body: dict[str, Any]) -> None:
    made = client.submit_job(body | {"webhook": {"url": "https://no-such-host.invalid/"}})
    assert made["spec"]["webhook"]["url"] == "https://no-such-host.invalid/"


def test_the_same_key_gives_the_same_job_whatever_became_of_its_receiver(open_client: Client, client: Client, body: dict[str, Any]) -> None:
    asked = body | {"webhook": {"url": "http://127.0.0.1:1/"}}
    first = open_client.submit_job(asked, "told")
    assert client.submit_job(asked, "told")["id"] == first["id"]


def test_each_change_that_the_job_names_is_owed_and_no_other(
    open_client: Client, store: Engine, open_settings: Settings, body: dict[str, Any]
) -> None:
    with receiver() as to:
        made = open_client.submit_job(body | {"webhook": {"url": to.url, "events": ["job.paused", "job.cancelled"]}})["id"]
        open_client.pause_job(made)
        open_client.pause_job(made)
        open_client.resume_job(made)
        open_client.cancel_job(made)
        listed = list(open_client.list_webhook_deliveries(made))
        assert [(row["event"], row["attempts"], row["delivered_at"]) for row in listed] == [("job.paused", 0, None), ("job.cancelled", 0, None)]
        deliver_due(store, open_settings)
        sent = {item.headers["webhook-id"]: item.json for item in to.sent}
    listed = list(open_client.list_webhook_deliveries(made))
    assert {row["id"]: row["payload"] for row in listed} == sent
    assert all(row["delivered_at"] and row["next_attempt_at"] is None for row in listed)


def test_a_job_without_a_receiver_has_told_nobody(client: Client, body: dict[str, Any]) -> None:
    made = client.submit_job(body)
    assert "webhook" not in made["spec"]
    client.cancel_job(made["id"])
    assert list(client.list_webhook_deliveries(made["id"])) == []
    with pytest.raises(ApiError):
        list(client.list_webhook_deliveries("nobody"))


def test_events_come_in_pages_oldest_first_and_each_once(open_client: Client, open_http: httpx.Client, body: dict[str, Any]) -> None:
    """Paused and resumed over and over, a job owes many; another job's are no part of it, and its cursor is refused."""
    asked = body | {"webhook": {"url": "http://127.0.0.1:1/", "events": ["job.paused", "job.cancelled"]}}
    made, other = open_client.submit_job(asked)["id"], open_client.submit_job(asked)["id"]
    open_client.cancel_job(other)
    for _ in range(4):
        open_client.pause_job(made)
        open_client.resume_job(made)
    open_client.cancel_job(made)

    pages, cursor = [], {}
    while not pages or cursor["cursor"]:
        page = open_http.get(f"/v1/jobs/{made}/webhook-deliveries", params={"limit": 2} | cursor).json()
        pages.append(page["items"])
        cursor = {"cursor": page["next_cursor"]}
    assert [len(page) for page in pages] == [2, 2, 1]
    listed = [row for page in pages for row in page]
    assert listed == list(open_client.list_webhook_deliveries(made))
    assert [row["event"] for row in listed] == ["job.paused"] * 4 + ["job.cancelled"]
    assert len({row["id"] for row in listed}) == 5

    first = open_http.get(f"/v1/jobs/{made}/webhook-deliveries", params={"limit": 2}).json()["next_cursor"]
    refused = open_http.get(f"/v1/jobs/{other}/webhook-deliveries", params={"cursor": first})
    assert refused.json()["code"] == "cursor-invalid"


def test_the_control_of_a_job_is_told_of_to_nobody(open_client: Client, body: dict[str, Any]) -> None:
    made = open_client.submit_job(body | {"controls": ["null", "random_weights"], "webhook": {"url": "http://127.0.0.1:1/"}})
    open_client.cancel_job(made["control"]["id"])
    assert list(open_client.list_webhook_deliveries(made["control"]["id"])) == []


def test_the_command_line_shows_deliveries(open_client: Client, body: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs.connect, "reader", lambda: open_client)
    made = open_client.submit_job(body | {"webhook": {"url": "http://127.0.0.1:1/"}})["id"]
    open_client.cancel_job(made)
    shown = CliRunner().invoke(app, ["job", "show", made], catch_exceptions=False)
    assert "webhook  job.cancelled: next attempt" in shown.stdout


def test_a_job_is_paused_resumed_and_cancelled_by_commands(
    open_settings: Settings, open_client: Client, body: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A command closes the client that it was given.
    monkeypatch.setattr(jobs.connect, "server", lambda: Client("http://test", InProcess(create_app(open_settings))))
    made = open_client.submit_job(body)["id"]

    def status_after(command: str) -> str:
        CliRunner().invoke(app, ["job", command, made], catch_exceptions=False)
        with Client("http://test", InProcess(create_app(open_settings))) as client:
            return str(client.get_job(made)["status"])

    assert [status_after(command) for command in ("pause", "resume", "cancel")] == ["paused", "queued", "cancelled"]


def test_db_prune_says_what_would_go_and_then_does_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(home=tmp_path)
    databases.upgrade(settings.database_url)
    monkeypatch.setattr(serve, "settings", lambda: settings)
    for flags in (["--dry-run"], []):
        result = CliRunner().invoke(app, ["db", "prune", "--json", *flags], catch_exceptions=False)
        assert json.loads(result.stdout) == {"webhooks": 0, "chunks": 0, "audit": 0, "exports": 0, "uploads": 0}
    assert "0 webhooks would go" in CliRunner().invoke(app, ["db", "prune", "--dry-run"], catch_exceptions=False).stdout
