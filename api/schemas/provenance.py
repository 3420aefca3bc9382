"""Answers of the provenance of one feature, with every prompt and reply."""

from typing import Any

from pydantic import Field

from api.schemas.base import FeatureState, ResponseModel
from api.schemas.explanations import ExplanationAnswer, ScoreAnswer
from api.schemas.features import ContextAnswer, EvidenceAnswer


class CallProvenance(ResponseModel):
    """One call with its full prompt and reply; `purpose` is the explainer's or scorer's."""

    key: str
    purpose: str
    job: str | None = Field(description="Who asked: another job than the explanation's or score's own where the answer came from the cache.")
    model: str | None
    base_url: str | None
    template: str | None
    status: str | None
    attempts: int | None
    prompt_tokens: int | None
    completion_tokens: int | None
    usage_known: bool | None
    cost_usd: float | None
    seconds: float | None
    error: str | None
    prompt: Any = Field(description="What was sent, as JSON; null where it is no longer kept.")
    reply: Any = Field(description="The raw reply of the endpoint, as JSON; null where nothing came back.")


class SpendAnswer(ResponseModel):
    """Tokens and cost of some calls; `cost_usd` is null if any price is unknown."""

    calls: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None


class NullProvenance(ResponseModel):
    """A null's borrowed explanation: its feature, its text, its figure on the same items."""

    index: int
    name: str = Field(description="`dictionary:index`, of a negative side `dictionary:index-`.")
    text: str | None
    value: float | None


class NullExclusion(ResponseModel):
    """Features left out of the nulls, since similar decoder directions may share the explanation."""

    min_cosine: float = Field(description="Features of at least this decoder cosine are left out.")
    indices: list[int] = Field(description="Those features, among the nearest ones that the evidence lists.")
    seed: int = Field(description="The seed of the draw among all others that are alike in density and length of label.")


class ScoreProvenance(ResponseModel):
    """A score with all items, verdicts, prompts and replies."""

    score: ScoreAnswer
    nulls: list[NullProvenance]
    null_exclusion: NullExclusion | None = Field(description="Features left out of the nulls; null where the score does not say.")
    calls: list[CallProvenance]
    spend: SpendAnswer


class ExplanationProvenance(ResponseModel):
    """An explanation with its prompts, replies, contexts and scores."""

    explanation: ExplanationAnswer
    whole_text: str | None = Field(description="All that the explanation says, as a judge reads it: of a rule every value of its sets, and a legend.")
    template: str | None
    prompt_digest: str | None
    model: dict[str, Any] | str | None
    seed: int | None
    contexts: list[ContextAnswer] = Field(description="Those that the explainer was shown, where it says which.")
    calls: list[CallProvenance]
    spend: SpendAnswer
    scores: list[ScoreProvenance]


class ProvenanceAnswer(ResponseModel):
    """The provenance of all explanations and scores of one feature."""

    dictionary: str
    index: int
    name: str = Field(description="`dictionary:index`, of a negative side `dictionary:index-`.")
    run: str = Field(description="The run's address, `dictionary/number`.")
    corpus: str = Field(description="The run's corpus, by its short name.")
    state: FeatureState
    evidence: EvidenceAnswer
    explanations: list[ExplanationProvenance]
    contexts: list[ContextAnswer] = Field(description="Every context that an item of a score speaks of, by the item's `context`.")
    spend: SpendAnswer
