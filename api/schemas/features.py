"""Answers of one feature."""

from datetime import datetime
from typing import Any

from pydantic import Field

from api.schemas.base import ResponseModel
from api.schemas.dictionaries import FeatureSummary
from api.schemas.explanations import ExplanationAnswer


class SplitStatistics(ResponseModel):
    """Window counts of one split."""

    windows_seen: int
    windows_active: int


class StatisticsAnswer(ResponseModel):
    """Exact counts over all tokens of the corpus, without special tokens."""

    tokens_seen: int | None
    tokens_active: int | None
    density: float | None
    max_activation: float | None
    mean_active: float | None
    firing_level: float = Field(
        description="The feature fires at activations above this: 0 in a sparse dictionary, a quantile of its activations in a dense one. "
        "Counts, density, positives and negatives go by it."
    )
    explain: SplitStatistics | None
    test: SplitStatistics | None
    reason: str | None = Field(default=None, description="Why figures are null.")


class HistogramAnswer(ResponseModel):
    """Active tokens: `counts[i]` from `edges[i]` to `edges[i + 1]`, without empty bins at both ends."""

    edges: list[float]
    counts: list[int]


class QuantileAnswer(ResponseModel):
    """A quantile: `share` of the active tokens lie below `activation`."""

    share: float
    activation: float


class ContextAnswer(ResponseModel):
    """A window of tokens, which join to the text, with the feature's activations."""

    id: str = Field(description="Document and offset: the same window has the same id in any kind.")
    kind: str
    split: str
    document: str
    start: int = Field(description="Offset in the document, in tokens.")
    position: int = Field(description="Offset in the row that the subject read, in tokens.")
    max_activation: float
    left: list[str] = Field(description="Tokens before the window in its row, for reading: they have no activations and are in no figure.")
    tokens: list[str]
    activations: list[float]


class TokenEffectAnswer(ResponseModel):
    """A vocabulary token, and the effect of the decoder direction on its logit."""

    token: str
    token_id: int
    logit: float


class NeighbourAnswer(ResponseModel):
    """A similar feature, with its label and the cosine of the two decoder directions."""

    index: int
    name: str = Field(description="`dictionary:index`, of a negative side `dictionary:index-`.")
    cosine: float
    label: str | None
    score: float | None


class EvidenceAnswer(ResponseModel):
    """The source of the evidence, and the settings of its collection."""

    id: str
    tokens: int
    corpus: dict[str, Any]
    identity: dict[str, Any]
    created_at: datetime


class FeatureAnswer(FeatureSummary):
    """Everything stored of one feature."""

    dictionary: str
    subject: str
    hook_point: str = Field(description="What the dictionary reads; several hook points are joined by `+`.")
    evidence: EvidenceAnswer
    statistics: StatisticsAnswer
    histogram: HistogramAnswer
    quantiles: list[QuantileAnswer]
    promoted: list[TokenEffectAnswer]
    suppressed: list[TokenEffectAnswer]
    nearest: list[NeighbourAnswer]
    explanations: list[ExplanationAnswer]
    contexts: list[ContextAnswer]
