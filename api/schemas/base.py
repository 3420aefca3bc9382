"""Base classes of all answers."""

from typing import Any, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field

FeatureState = str
Item = TypeVar("Item")


class ResponseModel(BaseModel):
    """Base of every answer, built from rows and dataclasses by attribute."""

    # Validators are built at first use: a command uses few models.
    model_config = ConfigDict(from_attributes=True, defer_build=True)

    @classmethod
    def of(cls, source: object, **given: Any) -> Self:
        """Return an answer from the given fields, with other fields from attributes of `source`."""
        read = {name: getattr(source, name) for name in cls.model_fields if name not in given and hasattr(source, name)}
        return cls.model_validate(read | given)


class UnreadableRow(ResponseModel):
    """A stored row that cannot be shown; the server's log has the reason."""

    id: str
    why: str


class Page(ResponseModel, Generic[Item]):
    """One page of a listing."""

    items: list[Item]
    next_cursor: str | None
    unreadable: list[UnreadableRow] = Field(
        default=[], exclude_if=lambda rows: not rows, description="Rows of this page that cannot be shown; left out where there are none."
    )
