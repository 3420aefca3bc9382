"""The bodies of the API's answers. What goes in is `interp.spec.JobSpec`; examples of both stand in `api/examples.py`."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from interp.lifecycle import JobStatus, Stage

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


class Progress(Answer):
    """How far a job is: the part of a job that changes, and what the event stream sends."""

    status: JobStatus
    request_counts: RequestCounts
    stages: list[StageProgress]
    created_at: datetime
    started_at: datetime | None
    cancelling_at: datetime | None
    finished_at: datetime | None
    eta: datetime | None = Field(description="When the job should end; null while nothing can be said.")
    summary: dict[str, Any] | None = Field(description="Figures of the whole job; null until it ends.")
    error: dict[str, Any] | None = Field(description="Why the job failed: a problem document.")


class JobAnswer(Progress):
    """One job: what was asked for, how far it is, what came of it."""

    id: str
    priority: int
    dictionary: str | None = Field(description="The dictionary's name, once it has been opened.")
    evidence: str | None = Field(description="Identity of the evidence that the job reads.")
    spec: dict[str, Any]


class JobPage(Answer):
    """One page of jobs, the newest first."""

    items: list[JobAnswer]
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


class ScoreAnswer(Answer):
    """One figure for one explanation. `value` is null with a `reason` where it is not defined."""

    id: int
    scorer: str
    metric: str
    value: float | None
    interval: IntervalAnswer | None
    reason: str | None
    answered: int
    failed: int
    abstained: int
    null: NullAnswer
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
