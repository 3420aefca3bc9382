"""Figures of all features of a run together."""

from pydantic import Field

from api.schemas.base import ResponseModel


class DistributionAnswer(ResponseModel):
    """A figure's distribution over a run's features."""

    edges: list[float]
    counts: list[int] = Field(description="`counts[i]` features from `edges[i]` to `edges[i + 1]`; the last bin has its upper edge.")
    others: int = Field(description="Features without the figure; those of 0, too, where the bins are at equal ratios.")
    by_decades: bool = Field(description="Whether the edges are at equal ratios, not at equal distances.")


class CoverageAnswer(ResponseModel):
    """Features of a run by what is known of them."""

    features: int = Field(description="Of the dictionary.")
    listed: int = Field(description="With evidence.")
    active: int
    rare: int
    dead: int
    labelled: int
    scored: int
    failed: int = Field(description="Explained without a label; `reasons` says why.")
    not_asked: int = Field(description="With evidence, and without any explanation.")


class ReasonAnswer(ResponseModel):
    """How many features an explainer gave no label, for one reason."""

    explainer: str
    reason: str
    features: int


class MeanAnswer(ResponseModel):
    """A mean over features with its 95% interval; null where there are too few."""

    count: int
    value: float | None
    low: float | None
    high: float | None


class LeagueLineAnswer(ResponseModel):
    """What one scorer says of one explainer's labels."""

    explainer: str
    settings: str = Field(description="Digest of the explainer's settings: the model, the prompt, the seed.")
    scorer: str
    scorer_settings: str
    metric: str
    score: MeanAnswer
    lift: MeanAnswer
    significant: int = Field(description="Labels whose lift has a q value below 0.05.")
    undefined: int = Field(description="Labels without a figure of this scorer.")


class FiguresAnswer(ResponseModel):
    """Distributions, coverage, and the table of explainers and scorers of one run."""

    dictionary: str
    run: str
    corpus: str
    coverage: CoverageAnswer
    reasons: list[ReasonAnswer] = Field(description="The commonest 20.")
    distributions: dict[str, DistributionAnswer] = Field(description="Of `score`, `lift`, `density` and `max_activation`, of each best explanation.")
    explainers: list[LeagueLineAnswer]
