"""Build the OpenAPI document, with examples of all bodies, answers and problems."""

from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from api.http.access.scopes import scope_of
from api.http.problems import MEDIA_TYPE
from api.schemas.examples import EXAMPLES
from api.schemas.service import Problem

TAGS = [
    {"name": "jobs", "description": "Which features of which dictionary to explain and score, and how. Long work is always a job."},
    {"name": "batches", "description": "Files of questions for a language model's runner that has no server, and its results."},
    {"name": "exports", "description": "Files of features in the formats of other tools, made by the service and downloaded by ranges."},
    {"name": "files", "description": "Uploads of dictionaries, corpora and subjects, for servers that cannot see a client's own files."},
    {"name": "dictionaries", "description": "Sparse dictionaries, and listings of their features."},
    {"name": "runs", "description": "Collections: the corpus and the settings that results belong to, and each dictionary's current one."},
    {"name": "features", "description": "Everything known of one feature."},
    {"name": "live", "description": "The model at hand: activations of given texts, and text that a feature steers."},
    {"name": "explanations", "description": "Labels with their scores, over features and dictionaries."},
    {"name": "access", "description": "Keys, and the log of who changed what; for admins."},
    {"name": "service", "description": "Health of the service, and the meaning of its problems."},
]
SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "gl_<id>_<secret>", "description": "An API key of `glossator keys create`."},
    "key": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "The same key in a header of its own."},
}
UNAUTHENTICATED, FORBIDDEN = 401, 403
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
            made["components"]["securitySchemes"] = SECURITY_SCHEMES
            for route in _described(routers):
                _restore_examples(made, route)
                _describe_access(made, route)
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _described(routers: Sequence[APIRouter]) -> Iterator[APIRoute]:
    for router in routers:
        yield from (route for route in router.routes if isinstance(route, APIRoute) and route.include_in_schema)


def _operations(document: dict[str, Any], route: APIRoute) -> Iterator[dict[str, Any]]:
    for method in route.methods or ():
        yield document["paths"][route.path][method.lower()]


def _restore_examples(document: dict[str, Any], route: APIRoute) -> None:
    """Put the original examples back: FastAPI drops every null from the document."""
    for operation in _operations(document, route):
        for status, described in route.responses.items():
            for media, content in described["content"].items():
                operation["responses"][str(status)]["content"][media]["example"] = content["example"]


def _describe_access(document: dict[str, Any], route: APIRoute) -> None:
    """Add the scope of a route, and the problems of keys without it."""
    scope = scope_of(route)
    for operation in _operations(document, route):
        if scope is None:
            operation["security"] = []
            continue
        operation["security"] = [{name: [scope.value]} for name in SECURITY_SCHEMES]
        operation["responses"] |= {str(status): problem_response(status) for status in (UNAUTHENTICATED, FORBIDDEN)}
        operation["description"] = f"{operation.get('description', '')}\n\nNeeds a key with the scope `{scope}`.".strip()
