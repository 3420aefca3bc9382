"""Routes of the service: health, readiness, metrics and problems."""

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request, Response

from api.http import pages, problems
from api.http.access.scopes import needs, public
from api.http.metrics import Metrics
from api.http.openapi import answers
from api.http.readiness import HealthChecks
from api.schemas.examples import EXAMPLES
from api.schemas.service import HealthStatus, ProblemKind, Readiness
from interp.domain.access import Scope

router = APIRouter(tags=["service"])
NOT_READY: dict[int | str, dict[str, Any]] = {
    503: {"description": "Not ready.", "model": Readiness, "content": {"application/json": {"example": EXAMPLES["not_ready"]}}}
}


@router.get("/healthz", responses=answers(EXAMPLES["health"]))
@public
def get_health(request: Request) -> HealthStatus:
    """Return `ok` as long as the process answers."""
    return HealthStatus(status="ok", version=request.app.version)


@router.get("/readyz", responses=answers(EXAMPLES["readiness"]) | NOT_READY)
@public
def get_readiness(response: Response, request: Request) -> Readiness:
    """Return whether requests can be answered, with the result of each check.

    The service is ready if the database answers and has the tables of this version. The broker and the artifact store are checked, too: without them
    jobs start late or not at all, but everything can be read and submitted.
    """
    health: HealthChecks = request.app.state.readiness
    ready, checks = health.states()
    if not ready:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return Readiness(ready=ready, checks=checks)


@router.get("/metrics", include_in_schema=False)
@needs(Scope.READ)
def get_metrics(request: Request) -> Response:
    """Return metrics for Prometheus, described in docs/metrics.md."""
    metrics: Metrics = request.app.state.metrics
    text, content_type = metrics.text(request.headers.get("accept", ""))
    return Response(text, media_type=content_type)


@router.get("/problems", include_in_schema=False)
@public
def list_problem_kinds(request: Request) -> Any:
    """List every kind of problem of answers and jobs."""
    kinds = problems.kinds()
    return pages.problems_page(kinds) if pages.prefers_html(request.headers.get("accept", "")) else kinds


@router.get("/problems/{code}", response_model=ProblemKind, responses=answers(EXAMPLES["problem_kind"], 404, 422))
@public
def get_problem_kind(request: Request, code: str) -> ProblemKind | Response:
    """Explain a problem's `type`, as JSON for programs or as a page for browsers."""
    kind = problems.kind(code)
    return pages.problem_page(kind) if pages.prefers_html(request.headers.get("accept", "")) else kind
