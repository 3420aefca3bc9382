"""The OpenAPI document: complete, and its examples true."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from api.schemas import (
    access,
    base,
    checks,
    dictionaries,
    explanations,
    exports,
    features,
    files,
    health,
    jobs,
    live,
    provenance,
    runs,
    service,
    usage,
)
from api.schemas import search as search_answers
from api.schemas.curation import feature_map, figures, league, lists, reviews, stability
from api.schemas.llm import batches
from interp.domain.spec import JobSpec

SCHEMAS = (
    access,
    base,
    checks,
    dictionaries,
    feature_map,
    explanations,
    exports,
    features,
    files,
    health,
    league,
    jobs,
    live,
    provenance,
    runs,
    service,
    stability,
    usage,
    search_answers,
    lists,
    figures,
    reviews,
    batches,
)
GOLDEN = {
    "list_batches": "GET /v1/batches",
    "stream_batch_requests": "GET /v1/batches/{batch_id}/requests",
    "put_batch_results": "PUT /v1/batches/{batch_id}/results",
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
    "submit_export": "POST /v1/exports",
    "list_exports": "GET /v1/exports",
    "get_export": "GET /v1/exports/{export_id}",
    "delete_export": "DELETE /v1/exports/{export_id}",
    "get_export_content": "GET /v1/exports/{export_id}/content",
    "create_review": "POST /v1/dictionaries/{dictionary}/features/{index}/reviews",
    "list_reviews": "GET /v1/reviews",
    "get_review_queue": "GET /v1/dictionaries/{dictionary}/review-queue",
    "get_agreement": "GET /v1/dictionaries/{dictionary}/agreement",
    "create_feature_list": "POST /v1/lists",
    "list_feature_lists": "GET /v1/lists",
    "get_feature_list": "GET /v1/lists/{list}",
    "list_listed_features": "GET /v1/lists/{list}/features",
    "change_feature_list": "PATCH /v1/lists/{list}",
    "delete_feature_list": "DELETE /v1/lists/{list}",
    "upload_file": "POST /v1/files",
    "join_files": "POST /v1/files/joined",
    "list_files": "GET /v1/files",
    "get_file": "GET /v1/files/{file_id}",
    "delete_file": "DELETE /v1/files/{file_id}",
    "list_dictionaries": "GET /v1/dictionaries",
    "get_dictionary": "GET /v1/dictionaries/{dictionary}",
    "get_dictionary_figures": "GET /v1/dictionaries/{dictionary}/figures",
    "compute_activations": "POST /v1/dictionaries/{dictionary}/activations",
    "steer_text": "POST /v1/dictionaries/{dictionary}/steer",
    "get_live_state": "GET /v1/dictionaries/{dictionary}/live",
    "get_dictionary_health": "GET /v1/dictionaries/{dictionary}/health",
    "get_dictionary_map": "GET /v1/dictionaries/{dictionary}/map",
    "get_dictionary_league": "GET /v1/dictionaries/{dictionary}/league",
    "get_dictionary_stability": "GET /v1/dictionaries/{dictionary}/stability",
    "list_features": "GET /v1/dictionaries/{dictionary}/features",
    "get_feature": "GET /v1/dictionaries/{dictionary}/features/{index}",
    "get_feature_provenance": "GET /v1/dictionaries/{dictionary}/features/{index}/provenance",
    "search_labels": "GET /v1/search",
    "list_explanations": "GET /v1/explanations",
    "list_runs": "GET /v1/runs",
    "get_run": "GET /v1/runs/{run_id}",
    "pin_current_run": "PUT /v1/dictionaries/{dictionary}/current-run",
    "unpin_current_run": "DELETE /v1/dictionaries/{dictionary}/current-run",
    "list_keys": "GET /v1/keys",
    "create_key": "POST /v1/keys",
    "get_own_key": "GET /v1/keys/self",
    "get_key_usage": "GET /v1/keys/{key_id}/usage",
    "set_key_quota": "PUT /v1/keys/{key_id}/quota",
    "revoke_key": "DELETE /v1/keys/{key_id}",
    "begin_session": "POST /v1/session",
    "get_session": "GET /v1/session",
    "end_session": "DELETE /v1/session",
    "list_audit_entries": "GET /v1/audit",
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
