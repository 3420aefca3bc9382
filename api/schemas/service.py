"""Answers of the service's health, and problem documents."""

from typing import Any

from pydantic import Field

from api.schemas.base import ResponseModel


class HealthStatus(ResponseModel):
    status: str
    version: str


class Readiness(ResponseModel):
    """The service's readiness; `checks` has `ok` or a fault for each dependency."""

    ready: bool
    checks: dict[str, str]


class FieldError(ResponseModel):
    """An invalid field of a request."""

    field: str = Field(description="Where it stands: `body.collection.window`, `query.limit`.")
    message: str


class Problem(ResponseModel):
    """An RFC 9457 problem document; `code` is stable, and `type` links to its explanation."""

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
    """The explanation of a problem's `type`."""

    code: str
    title: str
    status: int
    explanation: str
