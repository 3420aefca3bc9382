"""The OpenAPI document: complete, and its examples true."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from api.schemas import base, checks, dictionaries, explanations, features, jobs, provenance, runs, service, usage
from interp.domain.spec import JobSpec

SCHEMAS = (base, checks, dictionaries, explanations, features, jobs, provenance, runs, service, usage)
GOLDEN = {
    "submit_job": "POST /v1/jobs",
    "list_jobs": "GET /v1/jobs",
    "estimate_job": "POST /v1/jobs/estimate",
    "get_job": "GET /v1/jobs/{job_id}",
    "cancel_job": "POST /v1/jobs/{job_id}/cancel",
    "pause_job": "POST /v1/jobs/{job_id}/pause",
    "resume_job": "POST /v1/jobs/{job_id}/resume",
    "retry_job": "POST /v1/jobs/{job_id}/retry",
    "list_webhook_deliveries": "GET /v1/jobs/{job_id}/webhook-deliveries",
    "get_job_usage": "GET /v1/jobs/{job_id}/usage",
    "list_job_calls": "GET /v1/jobs/{job_id}/calls",
    "stream_job_events": "GET /v1/jobs/{job_id}/events",
    "submit_check": "POST /v1/checks",
    "get_check": "GET /v1/checks/{check_id}",
    "list_dictionaries": "GET /v1/dictionaries",
    "get_dictionary": "GET /v1/dictionaries/{dictionary}",
    "list_features": "GET /v1/dictionaries/{dictionary}/features",
    "get_feature": "GET /v1/dictionaries/{dictionary}/features/{index}",
    "get_feature_provenance": "GET /v1/dictionaries/{dictionary}/features/{index}/provenance",
    "list_explanations": "GET /v1/explanations",
    "list_runs": "GET /v1/runs",
    "get_run": "GET /v1/runs/{run_id}",
    "pin_current_run": "PUT /v1/dictionaries/{dictionary}/current-run",
    "unpin_current_run": "DELETE /v1/dictionaries/{dictionary}/current-run",
    "get_health": "GET /healthz",
    "get_readiness": "GET /readyz",
    "get_problem_kind": "GET /problems/{code}",
}


@pytest.fixture(scope="module")
def document(http: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = http.get("/openapi.json").json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def test_operations_have_names_that_make_a_client(document: dict[str, Any]) -> None:
    assert {operation["operationId"]: f"{method} {path}" for method, path, operation in operations(document)} == GOLDEN


def test_every_operation_has_a_tag_that_is_explained_and_a_summary(document: dict[str, Any]) -> None:
    explained = {tag["name"] for tag in document["tags"]}
    for _, _, operation in operations(document):
        assert set(operation["tags"]) <= explained
        assert operation["summary"] and operation["description"]


def test_every_body_and_every_answer_has_an_example(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        bodies = [("body", operation["requestBody"])] if "requestBody" in operation else []
        for name, described in bodies + list(operation["responses"].items()):
            assert described.get("content"), f"{method} {path} {name} describes no content"
            for media, content in described["content"].items():
                assert content.get("example") or content.get("examples"), f"{method} {path} {name} {media} has no example"


def test_every_refusal_is_a_problem_document(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        for status, described in operation["responses"].items():
            if status.startswith("4"):
                assert list(described["content"]) == ["application/problem+json"], f"{method} {path} {status}"
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_examples_of_answers_are_whole_and_fit_their_models(document: dict[str, Any]) -> None:
    checked = 0
    for _, path, operation in operations(document):
        for described in operation["responses"].values():
            for content in described["content"].values():
                if "$ref" not in content.get("schema", {}):
                    continue
                name = content["schema"]["$ref"].rpartition("/")[2]
                model = next(getattr(module, name) for module in SCHEMAS if hasattr(module, name))
                read = model.model_validate(content["example"]).model_dump(mode="json", exclude_none=model is service.Problem)
                assert read == content["example"], path
                checked += 1
    assert checked > len(GOLDEN)


def test_examples_of_jobs_are_jobs(document: dict[str, Any]) -> None:
    examples = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    for example in examples.values():
        JobSpec.model_validate(example["value"])


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    def references(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            for inner in node.values():
                yield from references(inner)
        elif isinstance(node, list):
            for inner in node:
                yield from references(inner)

    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(references(document)) <= known
