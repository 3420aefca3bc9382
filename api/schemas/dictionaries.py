"""Answers of dictionaries, and of features in listings."""

from datetime import datetime
from typing import Any

from pydantic import Field

from api.schemas.base import FeatureState, Page, ResponseModel
from interp.domain.polarity import Polarity


def _part(name: str) -> Any:
    """Return a field that is left out where `expand` does not name its part."""
    return Field(default=None, description=f"With `expand={name}`.", exclude_if=lambda value: value is None)


class DictionaryAnswer(ResponseModel):
    """A dictionary at a hook point of a subject; `states` counts its current run's features."""

    id: int
    name: str
    digest: str
    subject: str
    subject_digest: str
    hook_point: str = Field(description="What the dictionary reads; several hook points are joined by `+`.")
    architecture: str
    d_in: int
    n_features: int = Field(description="Both sides counted, where the polarity is `both`.")
    polarity: Polarity = Field(description="`both`: each neuron or direction is a feature (`123`), and so is its negative side (`123-`).")
    current_run: str | None = Field(description="The run that listings show when they name none; null before any has completed.")
    pinned: bool = Field(description="Whether an operator chose that run.")
    states: dict[str, int] | None = Field(default=None, description="Features by state: active, rare, dead. Only in the answer for one dictionary.")
    config: dict[str, Any]
    created_at: datetime


class DictionaryPage(Page[DictionaryAnswer]):
    pass


class FeatureSummary(ResponseModel):
    """A feature of one run in a listing, with its best explanation.

    All figures are of that explanation and one `scorer`, and null where undefined. docs/scores.md defines the best explanation.
    """

    index: int = Field(description="The feature's number; of a negative side the number of features plus that of its positive side.")
    name: str = Field(description="`dictionary:index`, of a negative side `dictionary:index-`.")
    run: str = Field(description="The run's address, `dictionary/number`.")
    corpus: str = Field(description="The run's corpus, by its short name.")
    state: FeatureState
    label: str | None
    explainer: str | None = Field(description="Who wrote the label.")
    job: str | None = Field(description="The job that the label was made in.")
    scorer: str | None = Field(description="Whose figures these are.")
    score: float | None
    shrunken_score: float | None = Field(
        default=None, description="The score drawn to the dictionary's mean by as much as it is uncertain: what to rank by."
    )
    lift: float | None
    p_value: float | None = Field(default=None, description="The lift's p value.")
    q_value: float | None
    density: float | None = Field(description="Null, as are the counts and the mean, in an imported run, whose records are not a whole corpus.")
    tokens_active: int | None
    max_activation: float | None
    mean_active: float | None
    firing_level: float = Field(description="The feature fires at activations above this; density and scores go by it.")


class WindowCounts(ResponseModel):
    """Exact counts of the whole corpus; pairs are of the explain and the test split."""

    tokens_seen: int
    tokens_active: int
    windows_seen: list[int]
    windows_active: list[int]
    max_activation: float
    mean_active: float
    firing_level: float


class ListedFeature(FeatureSummary):
    """A feature in a listing, with the parts that `expand` names (docs/exports.md)."""

    statistics: WindowCounts | None = _part("statistics")
    histogram: dict[str, Any] | None = _part("statistics")
    promoted: list[dict[str, Any]] | None = _part("statistics")
    suppressed: list[dict[str, Any]] | None = _part("statistics")
    nearest: list[dict[str, Any]] | None = _part("statistics")
    explanations: list[dict[str, Any]] | None = _part("explanations")
    contexts: list[dict[str, Any]] | None = _part("contexts")
    unreadable: str | None = Field(default=None, description="Why a part is missing.", exclude_if=lambda value: value is None)


class FeaturePage(Page[ListedFeature]):
    pass
