"""Untrusted configs, with a pydantic model per family; errors name the first wrong field."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, FailFast, Field, StringConstraints, ValidationError

from interp.domain.errors import InputError

# Names in configs become names of rows and metrics: no control characters, at most a column's length.
Name = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
# Sizes and counts begin at 1, token ids and layers at 0.
Count = Annotated[int, Field(ge=1, lt=2**31)]
Index = Annotated[int, Field(ge=0, lt=2**31)]


class FirstError(FailFast):
    """FailFast for unions, which need hashing; a million wrong values give one error."""

    __hash__ = object.__hash__


class Foreign(BaseModel):
    """Fields of a config, without conversion of types; unknown fields are ignored."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False, hide_input_in_errors=True)


Model = TypeVar("Model", bound=Foreign)


def typed(model: type[Model], content: Mapping[Any, Any], source: Path | str, error: type[InputError], cure: str) -> Model:
    """Validate a config; raises `error`, which names the first invalid setting."""
    try:
        return model.model_validate(content)
    except ValidationError as cause:
        first = cause.errors(include_url=False, include_context=False)[0]
        place, value = _found(content, first["loc"])
        if first["type"] in ("dict_type", "model_type", "model_attributes_type"):
            raise error(f"{source}: {place} is no object.", why=f"It is {brief(value)}.", cure=cure) from None
        raise error(f"{source}: {place} = {brief(value)} cannot be used.", why=f"{first['msg'][:200]}.", cure=cure) from None


def brief(value: Any) -> str:
    """Return a value for a message: a container's type only, since printing may not end."""
    if value is None or isinstance(value, str | bool | float):
        return repr(value[:40] if isinstance(value, str) else value)
    if isinstance(value, int):
        return str(value) if abs(value) < 10**40 else "a huge number"
    return f"of type {type(value).__name__}"


def _found(content: Any, place: tuple[int | str, ...]) -> tuple[str, Any]:
    """Return name and value at pydantic's place, which may end in a type's name."""
    names: list[str] = []
    for part in place:
        if isinstance(content, Mapping) and (part in content or not names):
            content = content.get(part)
        elif isinstance(content, list) and isinstance(part, int) and part < len(content):
            content = content[part]
        else:
            break
        names.append(str(part)[:80])
    return ".".join(names) or "it", content
