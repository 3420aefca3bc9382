"""What is wrong with the fields of a request or of a job file, in words."""

from collections.abc import Sequence
from typing import Any

from api.schemas import FieldError


def field_errors(errors: Sequence[Any]) -> list[FieldError]:
    """Pydantic's errors, a field each; those of one union's branches are joined, because only one branch was meant."""
    found: dict[str, list[str]] = {}
    for error in errors:
        # Pydantic names the branch of a union in the location; a person looks for the field.
        where = ".".join(str(part) for part in error["loc"] if not (isinstance(part, str) and ("[" in part or "(" in part)))
        messages = found.setdefault(where, [])
        message = str(error["msg"]).removeprefix("Value error, ")
        if message not in messages:
            messages.append(message)
    return [FieldError(field=where, message=" or: ".join(messages)) for where, messages in found.items()]
