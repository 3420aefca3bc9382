"""Whether the service is well, and what its problems mean."""

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request, Response
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from api import examples, problems
from api.dependencies import Configured, Store
from api.metrics import Metrics
from api.openapi import answers
from api.schemas import Health, ProblemKind, Readiness
from interp.disk import is_writable
from interp.settings import Settings
from interp.store import migrate
from interp.store.engine import READING

router = APIRouter(tags=["service"])
NOT_READY: dict[int | str, dict[str, Any]] = {
    503: {"description": "Not ready.", "model": Readiness, "content": {"application/json": {"example": examples.NOT_READY}}}
}


@router.get("/healthz", responses=answers(examples.HEALTH))
def get_health(request: Request) -> Health:
    """The process answers."""
    return Health(status="ok", version=request.app.version)


@router.get("/readyz", responses=answers(examples.READINESS) | NOT_READY)
def get_readiness(response: Response, engine: Store, settings: Configured) -> Readiness:
    """The database answers and has the tables of this version, and an embedded broker's folder can be written to."""
    checks = {"database": database_state(engine), "broker": broker_state(settings)}
    ready = all(state == "ok" for state in checks.values())
    if not ready:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return Readiness(ready=ready, checks=checks)


@router.get("/metrics", include_in_schema=False)
def get_metrics(request: Request) -> Response:
    """The service in numbers, for Prometheus: `docs/metrics.md` says what each means."""
    metrics: Metrics = request.app.state.metrics
    text, content_type = metrics.text(request.headers.get("accept", ""))
    return Response(text, media_type=content_type)


@router.get("/problems/{code}", responses=answers(examples.PROBLEM_KIND, 404, 422))
def get_problem_kind(code: str) -> ProblemKind:
    """What a problem's `type` stands for."""
    return problems.kind(code)


def database_state(engine: Engine) -> str:
    """`ok`, or what is wrong with the database."""
    try:
        current = migrate.is_current(engine.execution_options(**READING))
    except SQLAlchemyError as error:
        return f"does not answer: {str(error).splitlines()[0]}"
    return "ok" if current else "is not at this version: run `glossator db upgrade`"


def broker_state(settings: Settings) -> str:
    """`ok`, or what is wrong with the broker's folder. A broker that is a server is looked at by the workers: without it jobs only start late."""
    if not settings.is_embedded or is_writable(settings.broker_folder):
        return "ok"
    return f"cannot be written to: {settings.broker_folder}"
