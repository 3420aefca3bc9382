"""Named lists of features."""

from datetime import datetime
from typing import Annotated

from pydantic import ConfigDict, Field

from api.schemas.base import Page, ResponseModel

# It begins with a letter, so that no name is another list's id.
NAME = r"^[A-Za-z][A-Za-z0-9._-]{0,63}$"
MOST_AT_ONCE = 10_000

ListName = Annotated[str, Field(pattern=NAME, description="Unique; letters, digits, `.`, `_` and `-`, a letter first.", examples=["odd"])]
Description = Annotated[str, Field(max_length=2000, pattern=r"^[^\x00]*$")]
FeatureName = Annotated[str, Field(max_length=270, pattern=r"^[^\x00]{1,255}:[0-9]{1,9}-?$", examples=["pystdlib@1-res:123"])]
FeatureNames = Annotated[tuple[FeatureName, ...], Field(max_length=MOST_AT_ONCE)]


class NewListRequest(ResponseModel):
    """A list to make, with its first features."""

    model_config = ConfigDict(extra="forbid", defer_build=False)

    name: ListName
    description: Description = ""
    features: FeatureNames = Field(default=(), description="`dictionary:index`, of any dictionaries.")


class ListChangeRequest(ResponseModel):
    """What to change of a list; what is left out stays."""

    model_config = ConfigDict(extra="forbid", defer_build=False)

    name: ListName | None = None
    description: Description | None = None
    add: FeatureNames = Field(default=(), description="Features to add; those it has already change nothing.")
    remove: FeatureNames = Field(default=(), description="Features to remove; those it lacks change nothing.")


class ListAnswer(ResponseModel):
    """A named list of features."""

    id: int
    name: str
    description: str
    owner: str | None = Field(description="Who may change it, beside admins.")
    size: int = Field(description="How many features it has.")
    dictionaries: dict[str, int] = Field(description="Its features by dictionary.")
    created_at: datetime
    changed_at: datetime


class ListPage(Page[ListAnswer]):
    """One page of lists, oldest first."""


class ListedName(ResponseModel):
    """A feature of a list."""

    name: str = Field(description="`dictionary:index`.")
    dictionary: str
    index: int


class ListedNamePage(Page[ListedName]):
    """One page of a list's features, by dictionary and number."""
