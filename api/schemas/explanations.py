"""Answers of explanations and their scores."""

from datetime import datetime
from typing import Any

from pydantic import Field

from api.schemas.base import Page, ResponseModel


class ItemAnswer(ResponseModel):
    """One question to a judge; without an answer `prediction` is null, and `failure` says why."""

    context: str
    kind: str
    truth: float | None
    prediction: float | None
    failure: str | None
    detail: dict[str, Any] | None


class IntervalAnswer(ResponseModel):
    low: float
    high: float
    level: float
    method: str | None


class NullAnswer(ResponseModel):
    """The score with other features' explanations; `lift` is own minus null on jointly answered items."""

    value: float | None
    lift: float | None
    lift_interval: IntervalAnswer | None
    lift_reason: str | None = Field(default=None, description="Why the lift has no interval.")
    p_value: float | None
    p_method: str | None = Field(
        default=None,
        description="`rank` among the feature's own nulls, `pooled` with the nulls of all features, or `paired` where these are too few.",
        examples=["rank"],
    )
    p_paired: float | None = Field(
        default=None, description="Better than each null, by randomisation over documents: needs no other feature's scores."
    )
    p_paired_reason: str | None = None
    q_value: float | None = Field(description="Benjamini-Hochberg over the dictionary, of `p_value`.")
    reason: str | None
    values: list[float | None] = Field(default_factory=list, description="Each borrowed explanation's figure.")


class ControlAnswer(ResponseModel):
    """The score under a control: `empty`, `baseline`, `repeat`, `judge_swap`, `gold` (docs/scores.md)."""

    name: str
    value: float | None
    lift: float | None = Field(default=None, description="Own figure minus the control's, on the same items (`empty`, `baseline`).")
    lift_interval: IntervalAnswer | None = None
    reason: str | None = None
    details: dict[str, Any] = Field(default_factory=dict)


class ScoreAnswer(ResponseModel):
    """A figure of an explanation; an undefined `value` or `interval` is null, with a `reason`."""

    id: int
    scorer: str
    judge: str | None = Field(default=None, description="Who answered: `executable`, or the language model's name.")
    metric: str
    value: float | None
    interval: IntervalAnswer | None
    shrunken_score: float | None = Field(default=None, description="`value` drawn to the dictionary's mean by as much as it is uncertain.")
    reason: str | None
    answered: int
    failed: int
    abstained: int
    null: NullAnswer
    lift_over_pattern: float | None = Field(
        default=None, description="Own figure minus the `pattern` explanation's, judged alike: control `baseline`."
    )
    controls: list[ControlAnswer] = Field(default_factory=list)
    caveat: str | None = Field(
        default=None, description="What cannot be known of the figure: whether the author of an imported label saw texts of the test split."
    )
    details: dict[str, Any]
    items: list[ItemAnswer] | None = Field(default=None, description="Every question and answer; only in the answer for one feature.")
    created_at: datetime


class ExplanationAnswer(ResponseModel):
    """An explanation with its provenance, or the reason why there is none."""

    id: int
    dictionary: str
    run: str = Field(description="The run's address, `dictionary/number`.")
    corpus: str = Field(description="The run's corpus, by its short name.")
    index: int
    name: str = Field(description="`dictionary:index`, of a negative side `dictionary:index-`.")
    explainer: str
    settings_digest: str = Field(description="Digest of the explainer's settings, which distinguishes two explanations of one explainer.")
    best: bool = Field(description="Whether listings show this one for the feature.")
    firing_level: float | None = Field(
        description="The feature fires at activations above this: scores count windows by it. Null where the feature is not listed."
    )
    text: str | None
    failure: str | None
    rule: dict[str, Any] | None
    provenance: dict[str, Any]
    scores: list[ScoreAnswer]
    job: str | None
    created_at: datetime


class ExplanationPage(Page[ExplanationAnswer]):
    pass
