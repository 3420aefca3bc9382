"""Every error as a problem document (RFC 9457): what happened, why, and what to do about it."""

import inspect
import logging
from collections.abc import Iterator
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import Scope

from api.schemas.field_errors import field_errors
from api.schemas.service import FieldError, Problem, ProblemKind
from interp.domain.errors import GlossatorError, NotFoundError, printable, problem_of
from interp.store.db.engine import DBAPIError, told

log = logging.getLogger(__name__)

RETRY_SECONDS = 5
JSON_TYPES = {"application/json"}
MEDIA_TYPE = "application/problem+json"
VALIDATION_CODE, VALIDATION_TITLE = "request-invalid", "The request cannot be read"


def type_uri(code: str) -> str:
    """The problem's type: a relative reference that the server answers with an explanation."""
    return f"/problems/{code}"


def kind(code: str) -> ProblemKind:
    """What a code stands for. Raises NotFound, which lists the codes there are."""
    known = {one.code: one for one in kinds()}
    if code not in known:
        raise NotFoundError(f"No problem is called {code!r}.", cure=f"Known: {', '.join(sorted(known))}.")
    return known[code]


def kinds() -> list[ProblemKind]:
    """Every problem that an answer or a job can name, by code. Made anew: a module that is imported late brings its own."""
    tree: list[type[GlossatorError]] = [GlossatorError, *_descendants(GlossatorError)]
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


def _descendants(kind: type[GlossatorError]) -> Iterator[type[GlossatorError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _descendants(child)


def install(app: FastAPI) -> None:
    """Make every error of the app a problem document."""
    app.add_exception_handler(GlossatorError, _glossator_error)
    app.add_exception_handler(DBAPIError, _database_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(Exception, _unforeseen)


def _answer(problem: Problem, headers: dict[str, str] | None = None) -> JSONResponse:
    content = problem.model_dump(mode="json", exclude_none=True)
    return JSONResponse(content, status_code=problem.status, media_type=MEDIA_TYPE, headers=headers)


def answer_to(scope: Scope, error: GlossatorError) -> JSONResponse:
    """The document of an error, for middleware that answers by itself."""
    return _answer(Problem(instance=printable(scope["path"]), **problem_of(error)))


async def _glossator_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, GlossatorError)
    if error.status >= 500:
        log.error("%s %s: %s", request.method, request.scope["path"], error, exc_info=error)
    return _answer(Problem(instance=request.scope["path"], **problem_of(error)))


async def _database_error(request: Request, error: Exception) -> JSONResponse:
    """A database that is away is told as such, in one line of the log; any other error of it is a defect of ours."""
    assert isinstance(error, DBAPIError)
    known = told(error)
    if known is None:
        raise error
    log.error("%s %s: %s", request.method, request.scope["path"], known)
    return _answer(Problem(instance=request.scope["path"], **problem_of(known)), {"Retry-After": str(RETRY_SECONDS)})


async def _validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = field_errors(error.errors(), _body_model(request))
    why, cure = _about_the_body(request, error)
    problem = Problem(
        type=type_uri(VALIDATION_CODE),
        title=VALIDATION_TITLE,
        status=HTTPStatus.UNPROCESSABLE_ENTITY,
        detail="; ".join(f"{item.field}: {item.message}" for item in errors),
        instance=request.scope["path"],
        code=VALIDATION_CODE,
        why=why,
        cure=cure,
        errors=errors,
    )
    return _answer(problem)


def unreadable(request: Request, errors: list[FieldError]) -> JSONResponse:
    """The document of a request whose texts or numbers cannot be kept, before any endpoint sees it."""
    problem = Problem(
        type=type_uri(VALIDATION_CODE),
        title=VALIDATION_TITLE,
        status=HTTPStatus.UNPROCESSABLE_ENTITY,
        detail="; ".join(f"{item.field}: {item.message}" for item in errors),
        instance=printable(request.scope["path"]),
        code=VALIDATION_CODE,
        why="No database, log or answer could hold it.",
        cure="Correct what `errors` names: text is UTF-8 without NUL characters, numbers are finite and of 64 bits.",
        errors=errors,
    )
    return _answer(problem)


def _body_model(request: Request) -> type[BaseModel] | None:
    """What the endpoint reads its body into."""
    fields = getattr(getattr(request.scope.get("route"), "dependant", None), "body_params", ())
    kinds = [field.field_info.annotation for field in fields]
    return kinds[0] if len(kinds) == 1 and isinstance(kinds[0], type) and issubclass(kinds[0], BaseModel) else None


def _about_the_body(request: Request, error: RequestValidationError) -> tuple[str | None, str]:
    """Why a body was not read at all, and what to do; for other requests where to look."""
    page = "/docs lists every field and parameter with an example."
    if not any(item["loc"][:1] == ("body",) and len(item["loc"]) == 1 for item in error.errors()):
        return None, f"Correct what `errors` names; {page}"
    given = request.headers.get("content-type", "")
    if given.partition(";")[0].strip().lower() not in JSON_TYPES:
        why = f"The Content-Type is {given!r}." if given else "The request has no Content-Type."
        return why, "Send the body as JSON, with the header `Content-Type: application/json`."
    return None, f"Send a JSON object; {page}"


async def http_error(request: Request, error: Exception) -> JSONResponse:
    """The document of an error that the framework raised: no such path, wrong method, body too large."""
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    code = _code_of(status)
    problem = Problem(
        type=type_uri(code),
        title=status.phrase,
        status=status,
        detail=f"{request.method} {request.scope['path']}: {status.description or error.detail}",
        instance=request.scope["path"],
        code=code,
    )
    return _answer(problem, dict(error.headers) if error.headers else None)


async def _unforeseen(request: Request, _error: Exception) -> JSONResponse:
    """A defect of ours: the log has the traceback (the server writes it), the caller gets no inner detail."""
    problem = Problem(
        type=type_uri(GlossatorError.code),
        title=GlossatorError.title,
        status=GlossatorError.status,
        detail="The server met an error that it did not foresee.",
        instance=request.scope["path"],
        code=GlossatorError.code,
        cure="The server's log has the traceback; please report it.",
    )
    return _answer(problem)
