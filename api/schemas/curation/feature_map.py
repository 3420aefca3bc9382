"""Answer of the map of a dictionary's features."""

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from api.schemas.base import ResponseModel


class MapColour(StrEnum):
    """The figure of the run by which points are coloured."""

    SCORE = "score"
    SHRUNKEN_SCORE = "shrunken_score"
    LIFT = "lift"
    Q_VALUE = "q_value"
    DENSITY = "density"
    MAX_ACTIVATION = "max_activation"


class MapQuality(ResponseModel):
    """How well a map keeps the nearest features by direction.

    Each is the share of a feature's 10 nearest by direction that are among its 50 nearest in the plane.
    """

    layout: float | None = Field(description="Null for 50 features or fewer.")
    components: float | None = Field(description="The same of the first two principal components.")
    random: float | None = Field(description="What places without any order have on average.")
    sampled: int = Field(description="How many features were counted.")


class MapPoints(ResponseModel):
    """Columns of the features that have a place, ascending by feature.

    Each is the base64 of little-endian numbers.
    """

    feature: str = Field(description="int32: the feature's number.")
    x: str = Field(description="float32, from 0 to 1.")
    y: str = Field(description="float32, from 0 to 1, upwards.")
    value: str = Field(description="float32: the figure by which it is coloured; NaN without one.")


class MapHit(ResponseModel):
    """A feature whose label matches the query."""

    index: int
    name: str
    label: str | None


class MapAnswer(ResponseModel):
    """Where a dictionary's features lie in a plane, coloured by a figure of one run."""

    dictionary: str
    run: str
    job: str = Field(description="The job that made the map.")
    created_at: datetime
    features: int = Field(description="Of the dictionary.")
    sides: int = Field(description="2 where the second half of the features are the negative sides of the first (`123-`), else 1.")
    placed: int = Field(description="Features that have a place: those whose decoder direction is not zero.")
    quality: MapQuality
    colour: MapColour
    by_decades: bool = Field(description="Whether the figure spans decades, so that its colours go by the logarithm.")
    low: float | None = Field(description="The smallest figure of a placed feature (above 0, by decades); null without any.")
    high: float | None
    points: MapPoints | None = Field(description="Null with `points=false`.")
    hits: list[MapHit] = Field(description="What `q` finds, the best first.")
    without_meaning: str | None = Field(description="Why a hybrid search compared words alone, where it did.")
