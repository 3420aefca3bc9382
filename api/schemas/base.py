"""What every answer has in common."""

from pydantic import BaseModel, ConfigDict

FeatureState = str


class Answer(BaseModel):
    """Base of every answer: built from rows and dataclasses by attribute."""

    # Built when it is first used: a command makes few of them.
    model_config = ConfigDict(from_attributes=True, defer_build=True)
