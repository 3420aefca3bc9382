"""Describe errors of the fields of a request or of a job file."""

from collections.abc import Collection, Iterator, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel

from api.schemas.service import FieldError

NAMES_SHOWN = 12


def field_errors(errors: Sequence[Any], model: type[BaseModel] | None = None) -> list[FieldError]:
    """Return Pydantic's errors by field.

    Errors of one union's branches are joined, because only one branch was meant. For an unknown field the message names fields of `model`.
    """
    found: dict[str, list[str]] = {}
    for error in errors:
        # Pydantic adds the branch of a union to the location; users need the field alone.
        where = ".".join(str(part) for part in error["loc"] if not (isinstance(part, str) and ("[" in part or "(" in part)))
        messages = found.setdefault(where, [])
        message = _message(error, model)
        if message not in messages:
            messages.append(message)
    return [FieldError(field=where, message=" or: ".join(messages)) for where, messages in found.items()]


def suggestion(name: str, known: Collection[str]) -> str:
    """Return `Did you mean ...?` for a similar known name, else the first known names."""
    near = get_close_matches(name, known, n=2, cutoff=0.6)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    names = sorted(known)
    return f"Known: {', '.join(names[:NAMES_SHOWN])}{', ...' if len(names) > NAMES_SHOWN else ''}." if names else ""


def _message(error: Any, model: type[BaseModel] | None) -> str:
    if error["type"] == "json_invalid":
        return f"The body is no JSON: {error.get('ctx', {}).get('error', 'it cannot be read')}, at character {error['loc'][-1]}"
    if error["type"] == "extra_forbidden" and model is not None:
        return f"there is no such field. {suggestion(str(error['loc'][-1]), _names(model, error['loc'][:-1]))}".strip()
    return str(error["msg"]).removeprefix("Value error, ")


def _names(model: type[BaseModel], path: Sequence[Any]) -> set[str]:
    """Return the fields of the models at a path, whose parts may be no field."""
    models = {model}
    for part in path:
        inner = {one for found in models if part in found.model_fields for one in _models_of(found.model_fields[part].annotation)}
        models = inner or models
    return {field.alias or name for found in models for name, field in found.model_fields.items()}


def _models_of(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models within an annotation, such as a union or a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_of(part)
