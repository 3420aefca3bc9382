"""Quotas over HTTP: who sets them, what they refuse, and what of them is used."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.app import create_app
from benches.in_process import InProcess
from interp.config.settings import Settings
from interp.domain.access import Scope
from interp.store.access import keys
from interp.store.db.engine import make_engine, transaction
from tests import databases
from tests.security.test_requests import SPEC


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    home: Path = tmp_path_factory.mktemp("quotas")
    settings = Settings(home=home)
    databases.upgrade(settings.database_url)
    engine = make_engine(settings.database_url)
    with transaction(engine) as session:
        text = keys.create(session, "admin", [Scope.ADMIN], "test").text
    engine.dispose()
    with httpx.Client(transport=InProcess(create_app(settings)), base_url="http://localhost", headers={"x-api-key": text}) as client:
        yield client


def key(admin: httpx.Client, **quota: Any) -> tuple[str, dict[str, str]]:
    made = admin.post("/v1/keys", json={"name": "alice", "scopes": ["submit"], "quota": quota}).json()
    return made["id"], {"x-api-key": made["key"]}


def submit(admin: httpx.Client, headers: dict[str, str], path: str = "/v1/jobs") -> httpx.Response:
    return admin.post(path, json=SPEC, headers=headers)


def test_a_job_beyond_the_quota_is_refused_with_the_time_to_wait(admin: httpx.Client) -> None:
    key_id, alice = key(admin, max_jobs=1)
    job = submit(admin, alice).json()["id"]
    for path in ("/v1/jobs", "/v1/checks"):
        refused = submit(admin, alice, path)
        assert (refused.status_code, refused.json()["code"]) == (429, "quota-reached")
        assert int(refused.headers["retry-after"]) == refused.json()["details"]["seconds"] > 0
    used = admin.get("/v1/keys/self", headers=alice).json()
    assert (used["id"], used["name"], used["quota"]["max_jobs"], used["usage"]["jobs"]) == (key_id, "alice", 1, 1)
    assert admin.get(f"/v1/keys/{key_id}/usage").json() == used
    assert admin.post(f"/v1/jobs/{job}/cancel", headers=alice).status_code == 202
    assert submit(admin, alice).status_code == 202


def test_a_quota_that_waiting_does_not_help_is_a_403(admin: httpx.Client) -> None:
    key_id, alice = key(admin, features_per_day=0)
    refused = submit(admin, alice)
    assert (refused.status_code, refused.json()["code"]) == (403, "quota-too-small")
    assert "retry-after" not in refused.headers
    assert admin.put(f"/v1/keys/{key_id}/quota", json={"features_per_day": 10}).json()["quota"]["features_per_day"] == 10
    assert submit(admin, alice).status_code == 202


def test_only_admins_set_quotas(admin: httpx.Client) -> None:
    key_id, alice = key(admin, max_jobs=0)
    assert admin.put(f"/v1/keys/{key_id}/quota", json={}, headers=alice).status_code == 403
    assert submit(admin, alice).status_code == 403
    assert admin.put("/v1/keys/00000000/quota", json={}).status_code == 404
    assert admin.put(f"/v1/keys/{key_id}/quota", json={"max_jobs": -1}).status_code == 422


def test_a_larger_budget_is_checked(admin: httpx.Client) -> None:
    _, alice = key(admin, dollars_per_month=5)
    job = submit(admin, alice).json()["id"]
    assert admin.post(f"/v1/jobs/{job}/resume", json={"budget": {"usd": 4}}, headers=alice).status_code == 202
    assert admin.get("/v1/keys/self", headers=alice).json()["usage"]["dollars"] == 0, "it asks no model"
