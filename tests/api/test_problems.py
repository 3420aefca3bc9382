"""Every error is a problem document, whatever raised it."""

import httpx
import pytest
from fastapi import APIRouter

from api.app import create_app
from benches.in_process import InProcess
from interp.config.settings import Settings
from interp.domain.errors import DiskFullError, HookPointUnknownError


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "not-found"),
        ("DELETE", "/v1/jobs", 405, "method-not-allowed"),
        ("GET", "/v1/jobs/unknown", 404, "not-found"),
        ("POST", "/v1/jobs/unknown/cancel", 404, "not-found"),
        ("GET", "/v1/jobs/unknown/events", 404, "not-found"),
        ("GET", "/v1/dictionaries/toy@1-res/features/-1", 422, "request-invalid"),
        ("GET", "/v1/dictionaries/toy@1-res/features/99999999999", 422, "request-invalid"),
        ("GET", "/problems/unheard-of", 404, "not-found"),
        ("GET", "/v1/dictionaries/a%00b", 422, "request-invalid"),
        ("GET", "/v1/explanations?text=%00", 422, "request-invalid"),
        ("GET", "/v1/jobs/a%00b", 422, "request-invalid"),
    ],
)
def test_refusals_are_problem_documents(http: httpx.Client, method: str, path: str, status: int, code: str) -> None:
    response = http.request(method, path)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert (problem["status"], problem["code"]) == (status, code)
    assert {"type", "title", "detail", "instance"} <= set(problem)
    assert http.get(problem["type"]).status_code == 200


def test_a_wrong_method_names_the_right_ones(http: httpx.Client) -> None:
    assert "POST" in http.delete("/v1/jobs").headers["allow"]


def test_errors_of_the_tree_keep_their_code_cure_and_details_and_others_tell_nothing(service_settings: Settings) -> None:
    router = APIRouter()

    @router.get("/hook")
    def hook() -> None:
        raise HookPointUnknownError("There is no hook point 'x'.", why="It has 2 layers.", cure="Did you mean 'y'?", near=["y"])

    @router.get("/disk")
    def disk() -> None:
        raise DiskFullError("The database cannot grow.")

    @router.get("/defect")
    def defect() -> None:
        raise ZeroDivisionError("a secret")

    app = create_app(service_settings)
    app.include_router(router)
    with httpx.Client(transport=InProcess(app), base_url="http://test") as http:
        assert http.get("/hook").json() == {
            "type": "/problems/hook-point-unknown",
            "title": "Unknown hook point",
            "status": 422,
            "detail": "There is no hook point 'x'.",
            "instance": "/hook",
            "code": "hook-point-unknown",
            "why": "It has 2 layers.",
            "cure": "Did you mean 'y'?",
            "details": {"near": ["y"]},
        }
        assert http.get("/disk").status_code == 507
        response = http.get("/defect")
        assert response.status_code == 500
        assert response.headers["content-type"] == "application/problem+json"
        assert "secret" not in response.text
