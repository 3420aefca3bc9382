"""The bodies of the API's answers. What goes in is `interp.spec.JobSpec`; examples of both stand in `api/examples.py`."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from interp.lifecycle import JobStatus, Stage
from interp.spec import BudgetSpec

FeatureState = str


class Answer(BaseModel):
    """Base of every answer: built from rows and dataclasses by attribute."""

    model_config = ConfigDict(from_attributes=True)


# Jobs


class RequestCounts(Answer):
    """Features of a job: asked for, through all stages, and those that could not be explained."""

    total: int
    completed: int
    failed: int


class StageProgress(Answer):
    """How far one stage is. `unit` says what `done` and `total` count; `chunks` counts its chunks by status."""

    stage: Stage
    unit: str
    done: int
    total: int
    chunks: dict[str, int]
    started_at: datetime | None
    finished_at: datetime | None
    seconds: float = Field(description="Wall time from the first start to the last end, or to now.")
    eta_seconds: float | None = Field(description="Null until a rate is known.")


class AmountAnswer(Answer):
    """Calls, tokens (prompt and reply together) and dollars; null where there is no cap, or nobody knows a price."""

    calls: int | None
    tokens: int | None
    usd: float | None


class BudgetAnswer(Answer):
    """A job's money. What is left of a cap is cap - spent - unsettled - reserved, and it is never passed.

    `reserved` is set aside for calls in flight. `unsettled` was set aside by workers that died: those calls may have been billed, so it counts.
    """

    caps: AmountAnswer
    spent: AmountAnswer
    reserved: AmountAnswer
    unsettled: AmountAnswer


class Progress(Answer):
    """How far a job is: the part of a job that changes, and what the event stream sends."""

    status: JobStatus
    request_counts: RequestCounts
    stages: list[StageProgress]
    created_at: datetime
    started_at: datetime | None
    paused_at: datetime | None = Field(default=None, description="Since when the job is paused.")
    cancelling_at: datetime | None
    finished_at: datetime | None
    eta: datetime | None = Field(description="When the job should end; null while nothing can be said.")
    summary: dict[str, Any] | None = Field(description="Figures of the whole job; null until it ends.")
    error: dict[str, Any] | None = Field(description="Why the job failed, or is paused, and what to do about it: a problem document.")
    budget: BudgetAnswer | None = Field(default=None, description="Caps and spend; null for a job that asks no language model.")


class ControlJob(Answer):
    """The same job on the same subject with random weights: what the dictionary and the judge make of a model that has learned nothing.

    `scores` compares, a scorer each, the medians of this job with those of the control; null until both are done.
    """

    id: str
    status: JobStatus
    dictionary: str | None
    scores: dict[str, "ControlComparison"] | None


class ControlComparison(Answer):
    """One scorer's medians over the features, of the job and of its random-weights control."""

    median: float | None
    random_median: float | None
    median_lift: float | None
    random_median_lift: float | None


class JobAnswer(Progress):
    """One job: what was asked for, how far it is, what came of it."""

    id: str
    priority: int
    control_of: str | None = Field(default=None, description="The job whose random-weights control this one is.")
    control: ControlJob | None = Field(default=None, description="This job's random-weights control, where one was asked for.")
    dictionary: str | None = Field(description="The dictionary's name, once it has been opened.")
    evidence: str | None = Field(description="Identity of the evidence that the job reads.")
    spec: dict[str, Any]


class JobPage(Answer):
    """One page of jobs, the newest first."""

    items: list[JobAnswer]
    next_cursor: str | None


# Language models


class ResumeRequest(Answer):
    """What to change before a paused job goes on. Caps that are given replace the old ones; null lifts a cap; the rest stays."""

    model_config = ConfigDict(extra="forbid")

    budget: BudgetSpec | None = None


class EstimateRow(Answer):
    """What one purpose of one stage will take. `cost_usd` is null where nobody knows the price, and `why` says so."""

    stage: Stage
    purpose: str = Field(description="The explainer's or scorer's name, and what part of it: `detection/null`.")
    role: str = Field(description="Which of the job's models is asked: explainer, judge, second_judge, embedding.")
    model: str
    calls: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    why: str | None = None


class EstimateTotal(Answer):
    calls: int
    prompt_tokens: int
    completion_tokens: int
    tokens: int
    cost_usd: float | None
    why: str | None = None


class EstimateAnswer(Answer):
    """What a job would ask of its language models. Nothing was stored, and no model was asked."""

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
    context_windows: dict[str, int | None] = Field(description="Of each role's model, in tokens; null where nobody says.")
    cache: str
    notes: list[str]


class UsageRow(Answer):
    """The calls of one purpose to one model. Seconds are of one whole call, all its attempts and waits included."""

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
    tokens_known: bool = Field(description="False where the endpoint did not always say: then partly our upper bound.")
    cost_usd: float | None = Field(description="Null where the price of some is unknown; `priced_usd` is what the others cost.")
    priced_usd: float
    p50_seconds: float | None
    p95_seconds: float | None


class UsageTotal(Answer):
    """All rows together."""

    calls: int
    answered: int
    unanswered: int
    attempts: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    priced_usd: float


class UsageAnswer(Answer):
    """What a job has asked of language models so far. Answers from the cache cost nothing and are in no row."""

    job: str
    total: UsageTotal
    rows: list[UsageRow]
    budget: BudgetAnswer | None


class CallAnswer(Answer):
    """One question that went out, however many attempts it took."""

    id: int
    key: str = Field(description="What decides the answer, as a digest: the same question has the same key in any job.")
    stage: str
    feature: int | None
    purpose: str
    model: str
    base_url: str
    transport: str
    template: str
    status: str
    attempts: int
    prompt_tokens: int
    completion_tokens: int
    usage_known: bool
    cost_usd: float | None
    seconds: float
    error: str | None
    created_at: datetime


class CallPage(Answer):
    items: list[CallAnswer]
    next_cursor: str | None


# Dictionaries


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


# Features


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


class SplitStatistics(Answer):
    """Windows of one split."""

    windows_seen: int
    windows_active: int


class StatisticsAnswer(Answer):
    """Exact counts over every token of the corpus; special tokens are counted nowhere."""

    tokens_seen: int
    tokens_active: int
    density: float
    max_activation: float
    mean_active: float
    explain: SplitStatistics
    test: SplitStatistics


class HistogramAnswer(Answer):
    """Active tokens by activation: `counts[i]` lie from `edges[i]` to `edges[i + 1]`. Empty bins at both ends are left out."""

    edges: list[float]
    counts: list[int]


class QuantileAnswer(Answer):
    """`share` of the active tokens lie below `activation`."""

    share: float
    activation: float


class ContextAnswer(Answer):
    """A window of tokens with the feature's activation at each. The token strings join to the text."""

    id: str = Field(description="Document and offset: the same window has the same id in any kind.")
    kind: str
    split: str
    document: str
    start: int = Field(description="Offset in the document, in tokens.")
    position: int = Field(description="Offset in the row that the subject read, in tokens.")
    max_activation: float
    tokens: list[str]
    activations: list[float]


class TokenEffectAnswer(Answer):
    """A vocabulary token, and how far the decoder direction moves its logit."""

    token: str
    token_id: int
    logit: float


class NeighbourAnswer(Answer):
    """Another feature of the dictionary, with the cosine of the two decoder directions and its label."""

    feature: int
    cosine: float
    label: str | None
    score: float | None


class ItemAnswer(Answer):
    """One question that a judge was asked. `prediction` is null where it failed or abstained, see `failure`."""

    context: str
    kind: str
    truth: float | None
    prediction: float | None
    failure: str | None
    detail: dict[str, Any] | None


class IntervalAnswer(Answer):
    low: float
    high: float
    level: float
    method: str | None


class NullAnswer(Answer):
    """The same items, answered with other features' explanations. `lift` is own minus null."""

    value: float | None
    lift: float | None
    lift_interval: IntervalAnswer | None
    p_value: float | None
    q_value: float | None = Field(description="Benjamini-Hochberg over the dictionary.")
    reason: str | None
    values: list[float | None] = Field(default_factory=list, description="Each borrowed explanation's figure, where the scorer keeps them.")


class ControlAnswer(Answer):
    """The same score under one control: `empty`, `baseline`, `repeat`, `judge_swap`, `gold`. docs/scores.md says what each value is."""

    name: str
    value: float | None
    lift: float | None = Field(default=None, description="Own figure minus the control's, on the same items (`empty`, `baseline`).")
    lift_interval: IntervalAnswer | None = None
    reason: str | None = None
    details: dict[str, Any] = Field(default_factory=dict)


class ScoreAnswer(Answer):
    """One figure for one explanation. `value` is null with a `reason` where it is not defined."""

    id: int
    scorer: str
    judge: str | None = Field(default=None, description="Who answered: `executable`, or the language model's name.")
    metric: str
    value: float | None
    interval: IntervalAnswer | None
    shrunken: float | None = Field(default=None, description="`value` drawn to the dictionary's mean by as much as it is uncertain.")
    reason: str | None
    answered: int
    failed: int
    abstained: int
    null: NullAnswer
    lift_over_pattern: float | None = Field(
        default=None, description="Own figure minus the `pattern` explanation's, judged alike: control `baseline`."
    )
    controls: list[ControlAnswer] = Field(default_factory=list)
    details: dict[str, Any]
    items: list[ItemAnswer] | None = Field(default=None, description="Every question and answer; only in the answer for one feature.")
    created_at: datetime


class ExplanationAnswer(Answer):
    """A label with its provenance, or the reason why there is none."""

    id: int
    dictionary: str
    feature: int
    explainer: str
    text: str | None
    failure: str | None
    rule: dict[str, Any] | None
    provenance: dict[str, Any]
    scores: list[ScoreAnswer]
    evidence: str
    job: str | None
    created_at: datetime


class ExplanationPage(Answer):
    items: list[ExplanationAnswer]
    next_cursor: str | None


class EvidenceAnswer(Answer):
    """What the evidence was gathered from, and how."""

    id: str
    tokens: int
    corpus: dict[str, Any]
    identity: dict[str, Any]
    created_at: datetime


class FeatureAnswer(FeatureSummary):
    """Everything known of one feature."""

    dictionary: str
    subject: str
    hook_point: str
    evidence: EvidenceAnswer
    statistics: StatisticsAnswer
    histogram: HistogramAnswer
    quantiles: list[QuantileAnswer]
    promoted: list[TokenEffectAnswer]
    suppressed: list[TokenEffectAnswer]
    nearest: list[NeighbourAnswer]
    explanations: list[ExplanationAnswer]
    contexts: list[ContextAnswer]


# Provenance


class CallProvenance(Answer):
    """One question and its answer, whole. `purpose` is what the explainer or scorer used it for."""

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


class SpendAnswer(Answer):
    """What a list of calls took. `cost_usd` is null where any call's price is unknown."""

    calls: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None


class NullProvenance(Answer):
    """A borrowed explanation: whose it is, its words, and its figure on the same items."""

    feature: int
    text: str | None
    value: float | None


class ScoreProvenance(Answer):
    """One score, with every item, verdict, prompt and reply behind it."""

    score: ScoreAnswer
    nulls: list[NullProvenance]
    calls: list[CallProvenance]
    spend: SpendAnswer


class ExplanationProvenance(Answer):
    """One explanation, with every prompt and reply behind it, the contexts that it was made from, and its scores."""

    explanation: ExplanationAnswer
    template: str | None
    prompt_digest: str | None
    model: dict[str, Any] | str | None
    seed: int | None
    contexts: list[ContextAnswer] = Field(description="Those that the explainer was shown, where it says which.")
    calls: list[CallProvenance]
    spend: SpendAnswer
    scores: list[ScoreProvenance]


class ProvenanceAnswer(Answer):
    """Where everything said of one feature comes from."""

    dictionary: str
    feature: int
    name: str
    state: FeatureState
    evidence: EvidenceAnswer
    explanations: list[ExplanationProvenance]
    contexts: list[ContextAnswer] = Field(description="Every context that an item of a score speaks of, by the item's `context`.")
    spend: SpendAnswer


# Health and problems


class Health(Answer):
    status: str
    version: str


class Readiness(Answer):
    """`checks` says of each thing the service needs `ok`, or what is wrong with it."""

    ready: bool
    checks: dict[str, str]


class FieldError(Answer):
    """One field of a request that cannot be read."""

    field: str = Field(description="Where it stands: `body.collection.window`, `query.limit`.")
    message: str


class Problem(Answer):
    """An RFC 9457 problem document. `code` is stable; `type` is where the server explains it."""

    type: str
    title: str
    status: int
    detail: str
    instance: str = Field(description="The request that met the problem.")
    code: str
    why: str | None = None
    cure: str | None = None
    errors: list[FieldError] | None = Field(default=None, description="Each field of the request that cannot be read.")
    details: dict[str, Any] | None = Field(default=None, description="Facts a program can use: near names, limits, the present state.")


class ProblemKind(Answer):
    """What a problem's `type` stands for."""

    code: str
    title: str
    status: int
    explanation: str
