"""Dictionaries, and features as listings show them."""

from datetime import datetime
from typing import Any

from pydantic import Field

from api.schemas.base import Answer, FeatureState


class DictionaryAnswer(Answer):
    """One dictionary at one hook point of one subject. `states` counts its features that have evidence."""

    id: int
    name: str
    digest: str
    subject: str
    subject_digest: str
    hook_point: str
    architecture: str
    width: int
    features: int
    states: dict[str, int] | None = Field(default=None, description="Features by state: active, rare, dead. Only in the answer for one dictionary.")
    config: dict[str, Any]
    created_at: datetime


class DictionaryPage(Answer):
    items: list[DictionaryAnswer]
    next_cursor: str | None


class FeatureSummary(Answer):
    """A feature as listings show it. `score`, `lift` and `q_value` are those of its best scored explanation, null where undefined."""

    feature: int
    name: str = Field(description="`dictionary:index`")
    state: FeatureState
    label: str | None
    score: float | None
    shrunken: float | None = Field(
        default=None, description="The score drawn to the dictionary's mean by as much as it is uncertain: what to rank by."
    )
    lift: float | None
    q_value: float | None
    density: float
    tokens_active: int
    max_activation: float
    mean_active: float


class FeaturePage(Answer):
    items: list[FeatureSummary]
    next_cursor: str | None
