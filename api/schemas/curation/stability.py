"""Answers of how stable a dictionary's scores are."""

from pydantic import Field

from api.schemas.base import ResponseModel


class VarianceComponentAnswer(ResponseModel):
    """One part of the variance of scores, in squared units of the score."""

    name: str = Field(description="`feature`, `feature x FACTOR` or `residual`; of what all features share: `FACTOR` or `condition`.")
    estimate: float
    low: float | None = Field(description="Lower end of the 95% interval; null with fewer than 20 features.")
    high: float | None = Field(description="Its upper end.")
    truncated: bool = Field(description="Whether the unbiased estimate was negative, and 0 is given.")


class StabilityFigureAnswer(ResponseModel):
    """A figure with its 95% interval."""

    value: float
    low: float | None
    high: float | None


class ReliabilityAnswer(StabilityFigureAnswer):
    """Share of the variance of features' scores that other scorings would find again."""

    scorings: int = Field(description="Number of scorings, each with its own level of every factor, that a feature's score is the mean of.")


class LeftOutFactorAnswer(ResponseModel):
    """A factor whose part cannot be told apart."""

    name: str
    why: str


class FactorLevelsAnswer(ResponseModel):
    """The levels of a factor among the conditions."""

    name: str
    levels: list[str]


class StabilityDesignAnswer(ResponseModel):
    """What it takes to tell two dictionaries apart (two-sided test at 5%, power 80%)."""

    difference: float = Field(description="The difference of mean scores that is to be told.")
    features_unpaired: StabilityFigureAnswer = Field(description="Features of each dictionary, scored once under the same conditions.")
    features_paired: StabilityFigureAnswer = Field(description="Features that are scored once on both sides, such as labels of two explainers.")
    chance_right: float = Field(description="Chance that two dictionaries of as many features as here, this far apart, come in the right order.")
    items_factor: float | None = Field(
        description="By how much the items of each score must grow so that as many features as here suffice, unpaired; null if no number does."
    )
    item_share: float | None = Field(description="Share of the variance of a score that is the draw of its items, from the scores' intervals.")


class StabilityStudyAnswer(ResponseModel):
    """One explainer by one scorer, over the conditions under which features were scored."""

    explainer: str
    scorer: str
    metric: str
    features: int = Field(description="Features of the figures: those with a score under each condition.")
    conditions: int
    skipped: int = Field(description="Conditions left out, since they share too few features with the others.")
    mean: float
    factors: list[FactorLevelsAnswer]
    left_out: list[LeftOutFactorAnswer]
    components: list[VarianceComponentAnswer]
    condition_components: list[VarianceComponentAnswer] = Field(description="Of what all features share under a condition.")
    reliability: list[ReliabilityAnswer]
    design: StabilityDesignAnswer


class StabilityAnswer(ResponseModel):
    """How stable the scores of a dictionary are, by explainer and scorer."""

    dictionary: str
    studies: list[StabilityStudyAnswer]
