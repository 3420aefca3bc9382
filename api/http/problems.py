"""Answer errors with problem documents (RFC 9457): what happened, why, and the cure."""

import inspect
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Scope

from api.schemas.field_errors import field_errors
from api.schemas.service import FieldError, Problem, ProblemKind
from interp.domain.errors import GlossatorError, NotFoundError, error_classes, printable, problem_of
from interp.store.access.quotas import QuotaReachedError
from interp.store.db.engine import DBAPIError, database_error
from interp.store.queue.live import LiveDeadlineError, LiveUnavailableError

log = logging.getLogger(__name__)

RETRY_SECONDS = 5
JSON_TYPES = {"application/json"}
MEDIA_TYPE = "application/problem+json"
# The name in a request's state of the problem that answered it.
CODE = "problem"
VALIDATION_CODE, VALIDATION_TITLE = "request-invalid", "The request cannot be read"


def kind(code: str) -> ProblemKind:
    """Return the kind of problem of a code; raises NotFoundError, which lists the known codes."""
    known = {one.code: one for one in kinds()}
    if code not in known:
        raise NotFoundError(f"No problem is called {code!r}.", cure=f"Known: {', '.join(sorted(known))}.")
    return known[code]


def kinds() -> list[ProblemKind]:
    """Return all kinds of problem by code, those of modules imported late included."""
    tree: list[type[GlossatorError]] = list(error_classes())
    own = [ProblemKind(code=one.code, title=one.title, status=one.status, explanation=inspect.getdoc(one) or one.title) for one in tree]
    own.append(
        ProblemKind(code=VALIDATION_CODE, title=VALIDATION_TITLE, status=422, explanation="`errors` lists each field and what is wrong with it.")
    )
    general = [
        ProblemKind(code=_code_of(status), title=status.phrase, status=status, explanation=status.description or status.phrase)
        for status in HTTPStatus
        if 400 <= status < 500
    ]
    return sorted({one.code: one for one in general + own}.values(), key=lambda one: one.code)


def _code_of(status: HTTPStatus) -> str:
    return status.phrase.lower().replace(" ", "-").replace("'", "")


def install(app: FastAPI) -> None:
    """Answer every error of the app with a problem document."""
    app.add_exception_handler(GlossatorError, _glossator_error)
    app.add_exception_handler(DBAPIError, database_problem)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(Exception, unexpected_error)


def answer_to(scope: Scope, error: GlossatorError, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return the problem document of a GlossatorError."""
    return _answer(scope, headers=headers, **problem_of(error))


def invalid(scope: Scope, errors: list[FieldError], why: str | None, cure: str) -> JSONResponse:
    """Return the problem document of a request with invalid fields."""
    detail = "; ".join(f"{item.field}: {item.message}" for item in errors)
    return _answer(scope, VALIDATION_CODE, VALIDATION_TITLE, 422, detail, why=why, cure=cure, errors=errors)


def _answer(scope: Scope, code: str, title: str, status: int, detail: str, headers: Mapping[str, str] | None = None, **optional: Any) -> JSONResponse:
    scope.setdefault("state", {})[CODE] = code
    members = {"type": f"/problems/{code}", "instance": printable(scope["path"])} | optional
    problem = Problem(code=code, title=title, status=status, detail=detail, **members)
    return JSONResponse(problem.model_dump(mode="json", exclude_none=True), status_code=status, media_type=MEDIA_TYPE, headers=headers)


async def _glossator_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, GlossatorError)
    # Answers of the model at hand that came late, or for which no worker is there, are no faults of the server.
    if error.status >= 500 and not isinstance(error, LiveUnavailableError | LiveDeadlineError):
        log.error("%s %s: %s", request.method, request.scope["path"], error, exc_info=error)
    passes = isinstance(error, QuotaReachedError | LiveUnavailableError) and "seconds" in error.details
    wait = {"Retry-After": str(error.details["seconds"])} if passes else None
    return answer_to(request.scope, error, wait)


async def database_problem(request: Request, error: Exception) -> Response:
    """Answer 503 with one log line for an unreachable database; raise its other errors."""
    assert isinstance(error, DBAPIError)
    known = database_error(error)
    if known is None:
        raise error
    log.error("%s %s: %s", request.method, request.scope["path"], known)
    return answer_to(request.scope, known, {"Retry-After": str(RETRY_SECONDS)})


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    why, cure = _about_the_body(request, error)
    return invalid(request.scope, field_errors(error.errors(), _body_model(request)), why, cure)


def _body_model(request: Request) -> type[BaseModel] | None:
    """Return the Pydantic model of the endpoint's body, or None."""
    fields = getattr(getattr(request.scope.get("route"), "dependant", None), "body_params", ())
    kinds = [field.field_info.annotation for field in fields]
    return kinds[0] if len(kinds) == 1 and isinstance(kinds[0], type) and issubclass(kinds[0], BaseModel) else None


def _about_the_body(request: Request, error: RequestValidationError) -> tuple[str | None, str]:
    """Return the reason and cure for an unreadable body; otherwise the cure alone."""
    page = "/docs lists every field and parameter with an example."
    if not any(item["loc"][:1] == ("body",) and len(item["loc"]) == 1 for item in error.errors()):
        return None, f"Correct what `errors` names; {page}"
    given = request.headers.get("content-type", "")
    if given.partition(";")[0].strip().lower() not in JSON_TYPES:
        why = f"The Content-Type is {given!r}." if given else "The request has no Content-Type."
        return why, "Send the body as JSON, with the header `Content-Type: application/json`."
    return None, f"Send a JSON object; {page}"


async def http_error(request: Request, error: Exception) -> Response:
    """Return the problem document of a framework error, such as 404, 405 or 413."""
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    detail = f"{request.method} {request.scope['path']}: {status.description or error.detail}"
    return _answer(request.scope, _code_of(status), status.phrase, status, detail, headers=error.headers)


async def unexpected_error(request: Request, _error: Exception) -> Response:
    """Answer a defect without its details, which are in the server's log."""
    cure = "The server's log has the traceback; please report it."
    return _answer(request.scope, GlossatorError.code, GlossatorError.title, GlossatorError.status, "The server met an unexpected error.", cure=cure)
