"""Answers of league tables."""

from pydantic import Field

from api.schemas.base import ResponseModel


class ExplainerCostAnswer(ResponseModel):
    """What one label cost, on average over the features that the explainer labelled."""

    calls: float
    tokens: float
    usd: float | None = Field(description="Null where the price of a model is unknown.")


class LeagueEntryAnswer(ResponseModel):
    """One explainer by one scorer, on the features that all its explainers have."""

    explainer: str
    settings_digest: str = Field(description="Tells two settings of one explainer apart.")
    features: int = Field(description="Features with a score of this explainer.")
    common: int = Field(description="Features of the figures: those with a score of every explainer.")
    mean: float | None
    low: float | None = Field(description="Lower end of the mean's 95% interval over features.")
    high: float | None = Field(description="Its upper end.")
    mean_lift: float | None = Field(description="Mean lift over null.")
    better_than_null: float | None = Field(description="Share of the tested features with q at most 0.05.")
    better_than_pattern: float | None = Field(
        description="Share of the features whose lift over `pattern` on the same items, judged alike, has an interval above 0; see `why`."
    )
    why: str | None = Field(description="Why there is no `better_than_pattern`.")
    cost: ExplainerCostAnswer | None = Field(description="Of a label; null for explainers that ask no model.")


class LeagueDifferenceAnswer(ResponseModel):
    """The mean paired difference of two explainers over features, first minus second."""

    first: str
    first_settings: str
    second: str
    second_settings: str
    pairs: int
    difference: float | None
    low: float | None
    high: float | None
    why: str | None = Field(description="Why there is no difference, or no interval.")


class LeagueDivisionAnswer(ResponseModel):
    """The explainers by one scorer with the same settings: the same items, the same judge."""

    scorer: str
    settings_digest: str
    judge: str | None
    metric: str
    entries: list[LeagueEntryAnswer]
    differences: list[LeagueDifferenceAnswer]


class LeagueAnswer(ResponseModel):
    """The explainers of a run compared, by scorer."""

    dictionary: str
    run: str
    divisions: list[LeagueDivisionAnswer]
