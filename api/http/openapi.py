"""Build the OpenAPI document, with examples of all bodies, answers and problems."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from api.http.problems import MEDIA_TYPE
from api.schemas.examples import EXAMPLES
from api.schemas.service import Problem

TAGS = [
    {"name": "jobs", "description": "Which features of which dictionary to explain and score, and how. Long work is always a job."},
    {"name": "dictionaries", "description": "Sparse dictionaries, and listings of their features."},
    {"name": "runs", "description": "Collections: the corpus and the settings that results belong to, and each dictionary's current one."},
    {"name": "features", "description": "Everything known of one feature."},
    {"name": "explanations", "description": "Labels with their scores, over features and dictionaries."},
    {"name": "service", "description": "Health of the service, and the meaning of its problems."},
]
PROBLEM_REFERENCE = {"$ref": "#/components/schemas/Problem"}


def answers(example: Any, *problems: int, status: int = 200) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route: the example of its answer, and its problems."""
    good: dict[int | str, dict[str, Any]] = {status: {"content": {"application/json": {"example": example}}}}
    return good | {code: problem_response(code) for code in problems}


def problem_response(status: int) -> dict[str, Any]:
    """Return the description of a problem answer."""
    content = {MEDIA_TYPE: {"schema": PROBLEM_REFERENCE, "example": EXAMPLES["problems"][status]}}
    return {"description": HTTPStatus(status).phrase, "content": content}


def operation_id(route: APIRoute) -> str:
    """Return the endpoint's name, such as `submit_job` or `list_features`."""
    return route.name


def install(app: FastAPI, routers: Sequence[APIRouter]) -> None:
    """Set the app's OpenAPI document, built once from the included `routers`."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(title=app.title, version=app.version, summary=app.summary, description=app.description, routes=app.routes, tags=TAGS)
            schemas = made.setdefault("components", {}).setdefault("schemas", {})
            problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= problem.pop("$defs", {}) | {"Problem": problem}
            for router in routers:
                _restore_examples(made, router)
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _restore_examples(document: dict[str, Any], router: APIRouter) -> None:
    """Put the original examples back: FastAPI drops every null from the document."""
    for route in router.routes:
        if not isinstance(route, APIRoute) or not route.include_in_schema:
            continue
        for method in route.methods or ():
            answers_made = document["paths"][route.path][method.lower()]["responses"]
            for status, described in route.responses.items():
                for media, content in described["content"].items():
                    answers_made[str(status)]["content"][media]["example"] = content["example"]
