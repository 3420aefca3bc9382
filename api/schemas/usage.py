"""Answers of estimates and usage of language models."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from api.schemas.base import Page, ResponseModel
from api.schemas.jobs import AmountAnswer, BudgetAnswer, CorpusAnswer
from interp.domain.job_warnings import JobWarning
from interp.domain.lifecycle import Stage


class EstimateRow(ResponseModel):
    """The estimate of one purpose; `cost_usd` is null at an unknown price, see `why`."""

    stage: Stage
    purpose: str = Field(description="The explainer's or scorer's name, and what part of it: `detection/null`.")
    role: str = Field(description="Which of the job's models is asked: explainer, judge, second_judge, embedding; or the `endpoint` of an explainer.")
    model: str
    calls: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    why: str | None = None


class EstimateTotal(ResponseModel):
    calls: int
    prompt_tokens: int
    completion_tokens: int
    tokens: int
    cost_usd: float | None
    why: str | None = None


class EstimateAnswer(ResponseModel):
    """The estimated language model calls of a job, without storing anything or calling a model."""

    basis: Literal["evidence", "settings"] = Field(
        description="`evidence`: the job's own prompts, made from what was collected already. `settings`: prompts of the same sizes over drawn text."
    )
    features: int = Field(description="Features asked for.")
    counted_features: int = Field(description="Features that the estimate counts: without dead ones, where they are known.")
    sampled_features: int = Field(description="Features whose prompts were made and counted; the rest is scaled up.")
    rows: list[EstimateRow]
    total: EstimateTotal = Field(description="Of all rows, and of the random-weights control where the job asks for it.")
    includes_control: bool = Field(description="Whether `total` counts everything twice, for the random-weights control.")
    budget: AmountAnswer = Field(description="The job's caps.")
    within_budget: bool | None = Field(description="Null without a cap, or where a cap in USD meets an unknown price.")
    longest_prompt_tokens: int = Field(description="The longest prompt of the sample, with the room for its reply.")
    context_windows: dict[str, int | None] = Field(description="Of each role's model, in tokens; null where unknown.")
    notes: list[str]
    corpus: CorpusAnswer | None = Field(default=None, description="The files that the job would read.")
    warnings: list[JobWarning] = Field(default=[], description="What to know of how the job's files are read.")


class UsageRow(ResponseModel):
    """The calls of one purpose to one model; seconds include all attempts and waits."""

    stage: str
    purpose: str
    model: str
    base_url: str
    transport: str
    calls: int
    answered: int
    unanswered: int = Field(description="Refused, cut short or failed for good: never taken for an answer.")
    attempts: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = Field(description="Of the prompts' tokens, those that the endpoint read from its cache.")
    tokens_known: bool = Field(description="False where the endpoint did not always say: then partly our upper bound.")
    cost_usd: float | None = Field(description="Null where the price of some is unknown; `priced_usd` is what the others cost.")
    priced_usd: float
    p50_seconds: float | None = Field(description="Median. Within 5% of the true figure: read from a histogram.")
    p95_seconds: float | None = Field(description="What 95 of 100 calls stay within; within 5%, too.")


class UsageTotal(ResponseModel):
    """The sum of all rows."""

    calls: int
    answered: int
    unanswered: int
    attempts: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = Field(description="Of the prompts' tokens, those that the endpoint read from its cache.")
    cost_usd: float | None
    priced_usd: float


class UsageAnswer(ResponseModel):
    """A job's language model usage so far, without answers from the cache, which cost nothing."""

    job: str
    total: UsageTotal
    rows: list[UsageRow]
    budget: BudgetAnswer | None


class CallAnswer(ResponseModel):
    """One call to a language model, with all its attempts."""

    id: int
    key: str = Field(description="What decides the answer, as a digest: the same question has the same key in any job.")
    stage: str
    index: int | None
    purpose: str
    model: str
    base_url: str
    transport: str
    template: str
    status: str
    attempts: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = Field(description="Of the prompts' tokens, those that the endpoint read from its cache.")
    usage_known: bool
    cost_usd: float | None
    seconds: float
    error: str | None
    created_at: datetime


class CallPage(Page[CallAnswer]):
    pass
