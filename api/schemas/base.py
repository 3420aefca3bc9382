"""What every answer has in common."""

from pydantic import BaseModel, ConfigDict

FeatureState = str


class Answer(BaseModel):
    """Base of every answer: built from rows and dataclasses by attribute."""

    model_config = ConfigDict(from_attributes=True)
