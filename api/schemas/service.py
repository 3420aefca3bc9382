"""The service's own health, and its problems."""

from typing import Any

from pydantic import Field

from api.schemas.base import ResponseModel


class HealthStatus(ResponseModel):
    status: str
    version: str


class Readiness(ResponseModel):
    """`checks` says of each thing the service needs `ok`, or what is wrong with it."""

    ready: bool
    checks: dict[str, str]


class FieldError(ResponseModel):
    """One field of a request that cannot be read."""

    field: str = Field(description="Where it stands: `body.collection.window`, `query.limit`.")
    message: str


class Problem(ResponseModel):
    """An RFC 9457 problem document. `code` is stable; `type` is where the server explains it."""

    type: str
    title: str
    status: int
    detail: str
    instance: str = Field(description="The request that met the problem.")
    code: str
    why: str | None = None
    cure: str | None = None
    errors: list[FieldError] | None = Field(default=None, description="Each field of the request that cannot be read.")
    details: dict[str, Any] | None = Field(default=None, description="Facts a program can use: near names, limits, the present state.")


class ProblemKind(ResponseModel):
    """What a problem's `type` stands for."""

    code: str
    title: str
    status: int
    explanation: str
