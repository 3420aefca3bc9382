"""Query parameters: a name that the endpoint does not know is refused, so that a typo never gives another listing than was asked for."""

from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel

from api.schemas.field_errors import suggestion


async def known_parameters(request: Request) -> None:
    """A dependency of every endpoint. Raises RequestValidationError, which names the parameters that there are."""
    if not request.query_params:
        return
    known = _names(getattr(request.scope.get("route"), "dependant", None))
    unknown = [name for name in request.query_params if name not in known]
    if unknown:
        told = [(name, suggestion(name, known) or "This endpoint takes none.") for name in unknown]
        raise RequestValidationError(
            [{"type": "parameter_unknown", "loc": ("query", name), "msg": f"there is no such parameter. {hint}"} for name, hint in told]
        )


def _names(dependant: Any) -> set[str]:
    """The query parameters of an endpoint and of what it depends on."""
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
