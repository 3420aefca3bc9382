"""Refuse unknown query parameters, so that a typo does not return an unfiltered listing."""

from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel

from api.schemas.field_errors import suggestion


async def known_parameters(request: Request) -> None:
    """Check query parameters, for every endpoint; raises RequestValidationError with the known ones."""
    if not request.query_params:
        return
    known = _names(getattr(request.scope.get("route"), "dependant", None))
    unknown = [name for name in request.query_params if name not in known]
    if unknown:
        hints = [(name, suggestion(name, known) or "This endpoint takes none.") for name in unknown]
        raise RequestValidationError(
            [{"type": "parameter_unknown", "loc": ("query", name), "msg": f"there is no such parameter. {hint}"} for name, hint in hints]
        )


def _names(dependant: Any) -> set[str]:
    """Return the query parameters of an endpoint and of its dependencies."""
    if dependant is None:
        return set()
    names = set().union(*(_names(inner) for inner in dependant.dependencies))
    for field in dependant.query_params:
        kind = field.field_info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            names |= {inner.alias or name for name, inner in kind.model_fields.items()}
        else:
            names.add(field.alias)
    return names
