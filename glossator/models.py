"""Answers of the API as typed records; `make client-models` writes this file."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, TypedDict

from glossator.records import Record

FeatureSort = Literal[
    "index",
    "score",
    "lift",
    "shrunken_score",
    "p_value",
    "q_value",
    "density",
    "tokens_active",
    "max_activation",
    "mean_active",
    "firing_level",
    "label",
    "explainer",
]
JobKind = Literal["job", "check"]
JobStatus = Literal["checking", "queued", "running", "paused", "cancelling", "cancelled", "completed", "failed"]
MapColour = Literal["score", "shrunken_score", "lift", "q_value", "density", "max_activation"]
Scope = Literal["read", "submit", "review", "admin"]
SearchMode = Literal["text", "meaning", "hybrid"]
Stage = Literal[
    "check", "measure", "prepare", "collect", "combine", "merge", "propose", "try", "explain", "write", "probe", "score", "map", "health", "summarise"
]


class ActivationsAnswer(Record):
    """Activations on given texts."""

    dictionary: str
    run: str
    subject: str
    hook_point: str
    seconds: float
    opening_seconds: float
    exact: bool
    features: list[LiveFeature]
    texts: list[LiveText]
    against: list[LiveText]
    top: list[RankedFeature]
    differences: list[RankedFeature]


class AgreementAnswer(Record):
    """How people's verdicts on a run's labels agree with scorers, and with one another."""

    dictionary: str
    run: str
    verdicts: int
    scorers: list[ScorerAgreementAnswer]
    people: list[PeopleAgreementAnswer]


class AmountAnswer(Record):
    """Calls, tokens (prompt and reply) and dollars; null without a cap or a price."""

    calls: int | None
    tokens: int | None
    usd: float | None


class AuditAnswer(Record):
    """A request that changed something, or was refused."""

    id: int
    at: datetime
    who: str | None
    key: str | None
    address: str | None
    action: str
    target: str
    status: int
    code: str | None
    request_id: str | None
    unlisted: int


class AuditPage(Record):
    """One page of the audit log, newest first."""

    items_: list[AuditAnswer]
    next_cursor: str | None
    unreadable: list[UnreadableRow]


class BatchAnswer(Record):
    """A batch of questions to one model, for a runner without a server."""

    id: str
    job_id: str
    model: str
    questions: int
    status: str
    has_results: bool
    created_at: datetime
    ended_at: datetime | None
    requests: str


class BatchPage(Record):
    items_: list[BatchAnswer]
    next_cursor: str | None
    unreadable: list[UnreadableRow]


class BatchResultsAnswer(Record):
    """What became of the lines of imported results."""

    batch: BatchAnswer
    is_stored: bool
    lines: int
    answered: int
    failed: int
    missing: int
    duplicated: int
    unknown: int
    unreadable: int


class BudgetAnswer(Record):
    """A job's budget, whose caps are never exceeded.

    The rest of a cap is cap - spent - unsettled - reserved. `reserved` is for calls in flight. `unsettled` was reserved by workers that died: those
    calls may have been billed.
    """

    caps: AmountAnswer
    spent: AmountAnswer
    reserved: AmountAnswer
    unsettled: AmountAnswer


class CallAnswer(Record):
    """One call to a language model, with all its attempts."""

    id: int
    key: str
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
    cached_tokens: int
    usage_known: bool
    cost_usd: float | None
    seconds: float
    error: str | None
    created_at: datetime


class CallPage(Record):
    items_: list[CallAnswer]
    next_cursor: str | None
    unreadable: list[UnreadableRow]


class CallProvenance(Record):
    """One call with its full prompt and reply; `purpose` is the explainer's or scorer's."""

    key: str
    purpose: str
    job: str | None
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
    prompt: Any
    reply: Any


class CheckAnswer(Record):
    """One check: its job's status and progress, and its report.

    It is followed, paused and cancelled as a job of this id.
    """

    id: str
    status: JobStatus
    stages: list[StageProgress]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    warnings: list[JobWarning]
    error: dict[str, Any] | None
    report: CheckReport | None
    spec: dict[str, Any]


class CheckFigures(Record):
    """Figures of the sample; losses in nats a token, shares from 0 to 1.

    l0            features that fire at a token, on average
    fvu           fraction of variance unexplained: sum |x - x̂|² / sum |x - mean of x|²
    ce_clean      cross-entropy of the subject's next tokens
    ce_spliced    the same with the reconstruction in place of the activations
    ce_zero       the same with zeros in their place
    ce_recovered  (ce_zero - ce_spliced) / (ce_zero - ce_clean)
    dead_share    features that never fire in the sample
    firing_share  tokens at which a feature fires, on average over the features
    """

    l0: Figure
    fvu: Figure
    ce_clean: Figure
    ce_spliced: Figure
    ce_zero: Figure
    ce_recovered: Figure
    dead_share: Figure
    firing_share: Figure


class CheckReport(Record):
    """Result of a check; `rows` and `tokens` are the sample's, `tried` is ascending by FVU."""

    dictionary: CheckedDictionary
    subject: CheckedSubject
    rows: int
    tokens: int
    figures: CheckFigures
    findings: list[Finding]
    tried: list[Tried]


class CheckedDictionary(Record):
    """Family, shapes, arithmetic and metadata of a dictionary, as it is read."""

    name: str
    format: str
    architecture: str
    n_features: int
    d_in: int
    d_out: int
    hook_point: str
    output_point: str
    activation: str
    k: int | None
    input_norm: str
    has_pre_bias: bool
    has_skip: bool
    prepend_bos: bool
    model: str | None
    context: int | None


class CheckedSubject(Record):
    """The subject, as it was opened."""

    name: str
    architecture: str
    layers: int
    vocabulary: int
    context: int
    dtype: str
    backend: str


class ContextAnswer(Record):
    """A window of tokens, which join to the text, with the feature's activations."""

    id: str
    kind: str
    split: str
    document: str
    start: int
    position: int
    max_activation: float
    left: list[str]
    tokens: list[str]
    activations: list[float]


class ContinuationAnswer(Record):
    """What follows the prompt, drawn with one seed."""

    seed: int
    plain: WrittenText
    steered: WrittenText


class ControlAnswer(Record):
    """The score under a control: `empty`, `baseline`, `repeat`, `judge_swap`, `gold` (docs/scores.md)."""

    name: str
    value: float | None
    lift: float | None
    lift_interval: IntervalAnswer | None
    reason: str | None
    details: dict[str, Any]


class ControlComparison(Record):
    """One scorer's medians over the features, of a job and of its random-weights control."""

    median: float | None
    random_median: float | None
    median_lift: float | None
    random_median_lift: float | None


class ControlJob(Record):
    """The control job: the same job on the subject with random weights.

    `scores` compares the medians of this job with those of the control, per scorer. It is null until both have finished; of several dictionaries the
    summary's `random_weights` has the comparisons.
    """

    id: str
    status: JobStatus
    dictionary: str | None
    scores: dict[str, ControlComparison] | None


class CorpusAnswer(Record):
    """Files that match the corpus' path and patterns, from metadata; submission lists a bounded number."""

    files: int
    bytes: int
    by_suffix: dict[str, SuffixAnswer]
    left_out: dict[str, int]
    complete: bool


class CoverageAnswer(Record):
    """Features of a run by what is known of them."""

    features: int
    listed: int
    active: int
    rare: int
    dead: int
    labelled: int
    scored: int
    failed: int
    not_asked: int


class DeliveryAnswer(Record):
    """A webhook event and its delivery attempts; `next_attempt_at` is null once delivered or given up."""

    id: str
    event: str
    url: str
    payload: dict[str, Any]
    attempts: int
    next_attempt_at: datetime | None
    delivered_at: datetime | None
    error: str | None
    created_at: datetime


class DeliveryPage(Record):
    """One page of a job's webhook deliveries, oldest first."""

    items_: list[DeliveryAnswer]
    next_cursor: str | None
    unreadable: list[UnreadableRow]


class DictionaryAnswer(Record):
    """A dictionary at a hook point of a subject; `states` counts its current run's features."""

    id: int
    name: str
    digest: str
    subject: str
    subject_digest: str
    hook_point: str
    architecture: str
    d_in: int
    n_features: int
    polarity: Literal["positive", "both"]
    current_run: str | None
    pinned: bool
    states: dict[str, int] | None
    config: dict[str, Any]
    created_at: datetime


class DictionaryPage(Record):
    items_: list[DictionaryAnswer]
    next_cursor: str | None
    unreadable: list[UnreadableRow]


class DistributionAnswer(Record):
    """A figure's distribution over a run's features."""

    edges: list[float]
    counts: list[int]
    others: int
    by_decades: bool


class EstimateAnswer(Record):
    """The estimated language model calls of a job, without storing anything or calling a model."""

    basis: Literal["evidence", "settings"]
    features: int
    counted_features: int
    sampled_features: int
    rows: list[EstimateRow]
    total: EstimateTotal
    includes_control: bool
    budget: AmountAnswer
    within_budget: bool | None
    longest_prompt_tokens: int
    context_windows: dict[str, int | None]
    notes: list[str]
    corpus: CorpusAnswer | None
    warnings: list[JobWarning]


class EstimateRow(Record):
    """The estimate of one purpose; `cost_usd` is null at an unknown price, see `why`."""

    stage: Stage
    purpose: str
    role: str
    model: str
    calls: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    why: str | None


class EstimateTotal(Record):
    calls: int
    prompt_tokens: int
    completion_tokens: int
    tokens: int
    cost_usd: float | None
    why: str | None


class EvidenceAnswer(Record):
    """The source of the evidence, and the settings of its collection."""

    id: str
    tokens: int
    corpus: dict[str, Any]
    identity: dict[str, Any]
    created_at: datetime


class ExplainerCostAnswer(Record):
    """What one label cost, on average over the features that the explainer labelled."""

    calls: float
    tokens: float
    usd: float | None


class ExplanationAnswer(Record):
    """An explanation with its provenance, or the reason why there is none."""

    id: int
    dictionary: str
    run: str
    corpus: str
    index: int
    name: str
    explainer: str
    settings_digest: str
    best: bool
    firing_level: float | None
    text: str | None
    failure: str | None
    rule: dict[str, Any] | None
    provenance: dict[str, Any]
    scores: list[ScoreAnswer]
    job: str | None
    created_at: datetime


class ExplanationPage(Record):
    items_: list[ExplanationAnswer]
    next_cursor: str | None
    unreadable: list[UnreadableRow]


class ExplanationProvenance(Record):
    """An explanation with its prompts, replies, contexts and scores."""

    explanation: ExplanationAnswer
    whole_text: str | None
    template: str | None
    prompt_digest: str | None
    model: dict[str, Any] | str | None
    seed: int | None
    contexts: list[ContextAnswer]
    calls: list[CallProvenance]
    spend: SpendAnswer
    scores: list[ScoreProvenance]


class ExportAnswer(Record):
    """An export: its state, and the file once it is complete."""

    id: str
    status: str
    format: str
    dictionary: str
    features_done: int
    features_total: int | None
    file_name: str | None
    media_type: str | None
    bytes: int | None
    sha256: str | None
    content: str | None
    error: dict[str, Any] | None
    created_at: datetime
    finished_at: datetime | None
    expires_at: datetime | None
    request: dict[str, Any]


class ExportDetail(Record):
    """An export with its manifest."""

    id: str
    status: str
    format: str
    dictionary: str
    features_done: int
    features_total: int | None
    file_name: str | None
    media_type: str | None
    bytes: int | None
    sha256: str | None
    content: str | None
    error: dict[str, Any] | None
    created_at: datetime
    finished_at: datetime | None
    expires_at: datetime | None
    request: dict[str, Any]
    manifest: dict[str, Any] | None


class ExportPage(Record):
    items_: list[ExportAnswer]
    next_cursor: str | None
    unreadable: list[UnreadableRow]


class FactorLevelsAnswer(Record):
    """The levels of a factor among the conditions."""

    name: str
    levels: list[str]


class FeatureAnswer(Record):
    """Everything stored of one feature."""

    index: int
    name: str
    run: str
    corpus: str
    state: str
    label: str | None
    explainer: str | None
    job: str | None
    scorer: str | None
    score: float | None
    shrunken_score: float | None
    lift: float | None
    p_value: float | None
    q_value: float | None
    density: float | None
    tokens_active: int | None
    max_activation: float | None
    mean_active: float | None
    firing_level: float
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


class FeaturePage(Record):
    items_: list[ListedFeature]
    next_cursor: str | None
    unreadable: list[UnreadableRow]


class FeatureSummary(Record):
    """A feature of one run in a listing, with its best explanation.

    All figures are of that explanation and one `scorer`, and null where undefined. docs/scores.md defines the best explanation.
    """

    index: int
    name: str
    run: str
    corpus: str
    state: str
    label: str | None
    explainer: str | None
    job: str | None
    scorer: str | None
    score: float | None
    shrunken_score: float | None
    lift: float | None
    p_value: float | None
    q_value: float | None
    density: float | None
    tokens_active: int | None
    max_activation: float | None
    mean_active: float | None
    firing_level: float


class FieldError(Record):
    """An invalid field of a request."""

    field: str
    message: str


class Figure(Record):
    """A figure with its standard error by documents; where either is None, `why` says why."""

    value: float | None
    standard_error: float | None
    why: str | None


class FiguresAnswer(Record):
    """Distributions, coverage, and the table of explainers and scorers of one run."""

    dictionary: str
    run: str
    corpus: str
    coverage: CoverageAnswer
    reasons: list[ReasonAnswer]
    distributions: dict[str, DistributionAnswer]
    explainers: list[LeagueLineAnswer]


class FileAnswer(Record):
    """One upload: a file, or a folder that came as an archive."""

    id: str
    uri: str
    name: str
    kind: Literal["file", "folder"]
    digest: str
    bytes: int
    files: int
    created_at: datetime
    expires_at: datetime | None


class FileContent(Record):
    """A file of an upload: its path in a folder, or the upload's own name."""

    path: str
    bytes: int
    digest: str


class FileDetail(Record):
    """One upload with its files."""

    id: str
    uri: str
    name: str
    kind: Literal["file", "folder"]
    digest: str
    bytes: int
    files: int
    created_at: datetime
    expires_at: datetime | None
    content: list[FileContent]


class FilePage(Record):
    """A page of uploads, newest first."""

    items_: list[FileAnswer]
    next_cursor: str | None
    unreadable: list[UnreadableRow]


class Finding(Record):
    """One disagreement; `cure` says what to set or to correct."""

    code: str
    severity: Literal["fault", "warning"]
    detail: str
    cure: str


class HealthAnswer(Record):
    """A dictionary's health report for one run."""

    dictionary: str
    run: str
    job: str
    created_at: datetime
    comparison: dict[str, Any] | None
    verdict: list[VerdictLineAnswer]
    report: dict[str, Any]


class HealthStatus(Record):
    status: str
    version: str


class HistogramAnswer(Record):
    """Active tokens: `counts[i]` from `edges[i]` to `edges[i + 1]`, without empty bins at both ends."""

    edges: list[float]
    counts: list[int]


class IntervalAnswer(Record):
    low: float
    high: float
    level: float
    method: str | None


class ItemAnswer(Record):
    """One question to a judge; without an answer `prediction` is null, and `failure` says why."""

    context: str
    kind: str
    truth: float | None
    prediction: float | None
    failure: str | None
    detail: dict[str, Any] | None


class JobAnswer(Record):
    """One job: its spec, progress and results."""

    status: JobStatus
    request_counts: RequestCounts
    stages: list[StageProgress]
    created_at: datetime
    started_at: datetime | None
    paused_at: datetime | None
    cancelling_at: datetime | None
    finished_at: datetime | None
    eta: datetime | None
    summary: dict[str, Any] | None
    error: dict[str, Any] | None
    pause_reason: dict[str, Any] | None
    budget: BudgetAnswer | None
    id: str
    kind: JobKind
    priority: int
    owner: str | None
    control_of: str | None
    control: ControlJob | None
    dictionary: str | None
    run: str | None
    runs: list[JobRun]
    warnings: list[JobWarning]
    corpus: CorpusAnswer | None
    spec: dict[str, Any]


class JobPage(Record):
    """One page of jobs, newest first."""

    items_: list[JobAnswer]
    next_cursor: str | None
    unreadable: list[UnreadableRow]


class JobRun(Record):
    """One of a job's dictionaries, and the run that its results belong to."""

    dictionary: str
    run: str


class JobWarning(Record):
    """One warning, with a sentence as `detail`; a job has at most one per code."""

    code: str
    detail: str


class KeyAnswer(Record):
    """An API key, without its secret."""

    id: str
    prefix: str
    name: str
    scopes: list[Scope]
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class KeyPage(Record):
    """One page of keys, oldest first."""

    items_: list[KeyAnswer]
    next_cursor: str | None
    unreadable: list[UnreadableRow]


class KeyQuota(Record):
    """What a key may use at most; null is no limit."""

    max_jobs: int | None
    features_per_day: int | None
    dollars_per_month: float | None


class KeyUsage(Record):
    """What a key uses now, of the same kinds as its quota."""

    jobs: int
    features: int
    dollars: float


class KeyUsageAnswer(Record):
    """A key's quota, and what it uses of it."""

    id: str | None
    name: str
    scopes: list[Scope]
    quota: KeyQuota
    usage: KeyUsage


class LeagueAnswer(Record):
    """The explainers of a run compared, by scorer."""

    dictionary: str
    run: str
    divisions: list[LeagueDivisionAnswer]


class LeagueDifferenceAnswer(Record):
    """The mean paired difference of two explainers over features, first minus second."""

    first: str
    first_settings: str
    second: str
    second_settings: str
    pairs: int
    difference: float | None
    low: float | None
    high: float | None
    why: str | None


class LeagueDivisionAnswer(Record):
    """The explainers by one scorer with the same settings: the same items, the same judge."""

    scorer: str
    settings_digest: str
    judge: str | None
    metric: str
    entries: list[LeagueEntryAnswer]
    differences: list[LeagueDifferenceAnswer]


class LeagueEntryAnswer(Record):
    """One explainer by one scorer, on the features that all its explainers have."""

    explainer: str
    settings_digest: str
    features: int
    common: int
    mean: float | None
    low: float | None
    high: float | None
    mean_lift: float | None
    better_than_null: float | None
    better_than_pattern: float | None
    why: str | None
    cost: ExplainerCostAnswer | None


class LeagueLineAnswer(Record):
    """What one scorer says of one explainer's labels."""

    explainer: str
    settings: str
    scorer: str
    scorer_settings: str
    metric: str
    score: MeanAnswer
    lift: MeanAnswer
    significant: int
    undefined: int


class LeftOutFactorAnswer(Record):
    """A factor whose part cannot be told apart."""

    name: str
    why: str


class ListAnswer(Record):
    """A named list of features."""

    id: int
    name: str
    description: str
    owner: str | None
    size: int
    dictionaries: dict[str, int]
    created_at: datetime
    changed_at: datetime


class ListPage(Record):
    """One page of lists, oldest first."""

    items_: list[ListAnswer]
    next_cursor: str | None
    unreadable: list[UnreadableRow]


class ListedFeature(Record):
    """A feature in a listing, with the parts that `expand` names (docs/exports.md)."""

    index: int
    name: str
    run: str
    corpus: str
    state: str
    label: str | None
    explainer: str | None
    job: str | None
    scorer: str | None
    score: float | None
    shrunken_score: float | None
    lift: float | None
    p_value: float | None
    q_value: float | None
    density: float | None
    tokens_active: int | None
    max_activation: float | None
    mean_active: float | None
    firing_level: float
    statistics: WindowCounts | None
    histogram: dict[str, Any] | None
    promoted: list[dict[str, Any]] | None
    suppressed: list[dict[str, Any]] | None
    nearest: list[dict[str, Any]] | None
    explanations: list[dict[str, Any]] | None
    contexts: list[dict[str, Any]] | None
    unreadable: str | None


class ListedName(Record):
    """A feature of a list."""

    name: str
    dictionary: str
    index: int


class ListedNamePage(Record):
    """One page of a list's features, by dictionary and number."""

    items_: list[ListedName]
    next_cursor: str | None
    unreadable: list[UnreadableRow]


class LiveFeature(Record):
    """A feature in a run; figures are null where it has no evidence."""

    index: int
    name: str
    label: str | None
    score: float | None
    lift: float | None
    density: float | None
    max_activation: float | None
    firing_level: float | None


class LiveStateAnswer(Record):
    """Whether the model at hand answers at once."""

    dictionary: str
    run: str
    state: Literal["open", "closed", "no-worker"]
    workers: int
    waits_for: str | None


class LiveText(Record):
    """A text as the subject read it."""

    tokens: list[str]
    token_ids: list[int]
    counted: list[bool]
    rows: list[int]
    features: list[ReadFeature]
    top: list[RankedFeature]
    per_token: list[list[TokenFeature]]


class MapAnswer(Record):
    """Where a dictionary's features lie in a plane, coloured by a figure of one run."""

    dictionary: str
    run: str
    job: str
    created_at: datetime
    features: int
    sides: int
    placed: int
    quality: MapQuality
    colour: MapColour
    by_decades: bool
    low: float | None
    high: float | None
    points: MapPoints | None
    hits: list[MapHit]
    without_meaning: str | None


class MapHit(Record):
    """A feature whose label matches the query."""

    index: int
    name: str
    label: str | None


class MapPoints(Record):
    """Columns of the features that have a place, ascending by feature.

    Each is the base64 of little-endian numbers.
    """

    feature: str
    x: str
    y: str
    value: str


class MapQuality(Record):
    """How well a map keeps the nearest features by direction.

    Each is the share of a feature's 10 nearest by direction that are among its 50 nearest in the plane.
    """

    layout: float | None
    components: float | None
    random: float | None
    sampled: int


class MeanAnswer(Record):
    """A mean over features with its 95% interval; null where there are too few."""

    count: int
    value: float | None
    low: float | None
    high: float | None


class NeighbourAnswer(Record):
    """A similar feature, with its label and the cosine of the two decoder directions."""

    index: int
    name: str
    cosine: float
    label: str | None
    score: float | None


class NewKeyAnswer(Record):
    """A key that was just made, with its text, which no later answer shows."""

    id: str
    prefix: str
    name: str
    scopes: list[Scope]
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    key: str


class NullAnswer(Record):
    """The score with other features' explanations; `lift` is own minus null on jointly answered items."""

    value: float | None
    lift: float | None
    lift_interval: IntervalAnswer | None
    lift_reason: str | None
    p_value: float | None
    p_method: str | None
    p_paired: float | None
    p_paired_reason: str | None
    q_value: float | None
    reason: str | None
    values_: list[float | None]


class NullExclusion(Record):
    """Features left out of the nulls, since similar decoder directions may share the explanation."""

    min_cosine: float
    indices: list[int]
    seed: int


class NullProvenance(Record):
    """A null's borrowed explanation: its feature, its text, its figure on the same items."""

    index: int
    name: str
    text: str | None
    value: float | None


class PeopleAgreementAnswer(Record):
    """Cohen's kappa of two people over the labels that both judged."""

    first: str
    second: str
    labels: int
    kappa: float | None
    low: float | None
    high: float | None
    reason: str | None


class Problem(Record):
    """An RFC 9457 problem document; `code` is stable, and `type` links to its explanation."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    why: str | None
    cure: str | None
    errors: list[FieldError] | None
    details: dict[str, Any] | None


class ProblemKind(Record):
    """The explanation of a problem's `type`."""

    code: str
    title: str
    status: int
    explanation: str


class ProvenanceAnswer(Record):
    """The provenance of all explanations and scores of one feature."""

    dictionary: str
    index: int
    name: str
    run: str
    corpus: str
    state: str
    evidence: EvidenceAnswer
    explanations: list[ExplanationProvenance]
    contexts: list[ContextAnswer]
    spend: SpendAnswer


class QuantileAnswer(Record):
    """A quantile: `share` of the active tokens lie below `activation`."""

    share: float
    activation: float


class QueueAnswer(Record):
    """Features whose label the caller has not judged, in the order to judge them."""

    dictionary: str
    run: str
    items_: list[FeatureSummary]


class RankedFeature(Record):
    """A feature that is strong in some texts."""

    index: int
    name: str
    label: str | None
    score: float | None
    lift: float | None
    density: float | None
    max_activation: float | None
    firing_level: float | None
    value: float
    text: int
    token: int


class ReadFeature(Record):
    """A feature's activations at the tokens of a text."""

    index: int
    name: str
    activations: list[float]


class Readiness(Record):
    """The service's readiness; `checks` has `ok` or a fault for each dependency."""

    ready: bool
    checks: dict[str, str]


class ReasonAnswer(Record):
    """How many features an explainer gave no label, for one reason."""

    explainer: str
    reason: str
    features: int


class ReliabilityAnswer(Record):
    """Share of the variance of features' scores that other scorings would find again."""

    value: float
    low: float | None
    high: float | None
    scorings: int


class RequestCounts(Record):
    """Numbers of features that a job requested, finished, and could not explain."""

    total: int
    completed: int
    failed: int


class ReviewAnswer(Record):
    """A review of a feature's label."""

    id: int
    name: str
    dictionary: str
    index: int
    run: str
    verdict: str
    explanation: int | None
    label: str | None
    text: str | None
    comment: str | None
    author: str
    created_at: datetime


class ReviewPage(Record):
    """One page of reviews, newest first."""

    items_: list[ReviewAnswer]
    next_cursor: str | None
    unreadable: list[UnreadableRow]


class RunAnswer(Record):
    """A run: a dictionary of a subject, a corpus and collection settings."""

    id: int
    name: str
    number: int
    dictionary: str
    digest: str
    status: Literal["completed", "collecting", "incomplete"]
    current: bool
    pinned: bool
    subject: str
    corpus: str
    tokens: int
    covered_features: int
    n_features: int
    jobs: list[RunJob]
    firing_level: Literal["zero", "quantile"]
    firing_rate: float | None
    identity: dict[str, Any]
    corpus_facts: dict[str, Any]
    created_at: datetime
    completed_at: datetime | None


class RunJob(Record):
    """A job whose results belong to the run."""

    id: str
    status: str
    explainers: list[str]
    scorers: list[str]
    median_lift: dict[str, float | None]
    created_at: datetime
    finished_at: datetime | None


class RunPage(Record):
    items_: list[RunAnswer]
    next_cursor: str | None
    unreadable: list[UnreadableRow]


class ScoreAnswer(Record):
    """A figure of an explanation; an undefined `value` or `interval` is null, with a `reason`."""

    id: int
    scorer: str
    judge: str | None
    metric: str
    value: float | None
    interval: IntervalAnswer | None
    shrunken_score: float | None
    reason: str | None
    answered: int
    failed: int
    abstained: int
    null: NullAnswer
    lift_over_pattern: float | None
    controls: list[ControlAnswer]
    caveat: str | None
    details: dict[str, Any]
    items_: list[ItemAnswer] | None
    created_at: datetime


class ScoreProvenance(Record):
    """A score with all items, verdicts, prompts and replies."""

    score: ScoreAnswer
    nulls: list[NullProvenance]
    null_exclusion: NullExclusion | None
    calls: list[CallProvenance]
    spend: SpendAnswer


class ScorerAgreementAnswer(Record):
    """How well a scorer tells accepted labels from flagged and edited ones."""

    scorer: str
    accepted: int
    rejected: int
    auroc: float | None
    low: float | None
    high: float | None
    reason: str | None


class SearchHit(Record):
    """A feature whose label was found, with its figures and ranks."""

    index: int
    name: str
    run: str
    corpus: str
    state: str
    label: str | None
    explainer: str | None
    job: str | None
    scorer: str | None
    score: float | None
    shrunken_score: float | None
    lift: float | None
    p_value: float | None
    q_value: float | None
    density: float | None
    tokens_active: int | None
    max_activation: float | None
    mean_active: float | None
    firing_level: float
    dictionary: str
    text_rank: int | None
    meaning_rank: int | None
    cosine: float | None
    fused: float
    highlights: list[list[Any]]


class SearchPage(Record):
    """One page of hits, the best first."""

    items_: list[SearchHit]
    next_cursor: str | None
    unreadable: list[UnreadableRow]
    complete: bool
    embedder: str | None
    without_meaning: str | None


class SessionAnswer(Record):
    """Who a caller is, and the browser's session of the request."""

    name: str
    scopes: list[Scope]
    csrf_token: str | None
    expires_at: datetime | None


class SpendAnswer(Record):
    """Tokens and cost of some calls; `cost_usd` is null if any price is unknown."""

    calls: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None


class SplitStatistics(Record):
    """Window counts of one split."""

    windows_seen: int
    windows_active: int


class StabilityAnswer(Record):
    """How stable the scores of a dictionary are, by explainer and scorer."""

    dictionary: str
    studies: list[StabilityStudyAnswer]


class StabilityDesignAnswer(Record):
    """What it takes to tell two dictionaries apart (two-sided test at 5%, power 80%)."""

    difference: float
    features_unpaired: StabilityFigureAnswer
    features_paired: StabilityFigureAnswer
    chance_right: float
    items_factor: float | None
    item_share: float | None


class StabilityFigureAnswer(Record):
    """A figure with its 95% interval."""

    value: float
    low: float | None
    high: float | None


class StabilityStudyAnswer(Record):
    """One explainer by one scorer, over the conditions under which features were scored."""

    explainer: str
    scorer: str
    metric: str
    features: int
    conditions: int
    skipped: int
    mean: float
    factors: list[FactorLevelsAnswer]
    left_out: list[LeftOutFactorAnswer]
    components: list[VarianceComponentAnswer]
    condition_components: list[VarianceComponentAnswer]
    reliability: list[ReliabilityAnswer]
    design: StabilityDesignAnswer


class StageProgress(Record):
    """One stage of a job; `done` and `total` count `unit`, `chunks` chunks by status.

    `seconds` is wall time from the stage's first start to its last end (or now, or the pause), without pauses and the time between an end and a
    retry. `eta_seconds` is None until a rate is known: after 1% of the units, or a minute.
    """

    stage: Stage
    unit: str
    done: int
    total: int
    chunks: dict[str, int]
    started_at: datetime | None
    finished_at: datetime | None
    seconds: float
    eta_seconds: float | None


class StatisticsAnswer(Record):
    """Exact counts over all tokens of the corpus, without special tokens."""

    tokens_seen: int | None
    tokens_active: int | None
    density: float | None
    max_activation: float | None
    mean_active: float | None
    firing_level: float
    explain: SplitStatistics | None
    test: SplitStatistics | None
    reason: str | None


class SteerAnswer(Record):
    """Steered texts, each beside the one without."""

    dictionary: str
    run: str
    subject: str
    hook_point: str
    seconds: float
    opening_seconds: float
    feature: LiveFeature
    strength: float
    prompt: list[str]
    continuations: list[ContinuationAnswer]


class SuffixAnswer(Record):
    """The number and total size of files of one suffix."""

    files: int
    bytes: int


class TokenEffectAnswer(Record):
    """A vocabulary token, and the effect of the decoder direction on its logit."""

    token: str
    token_id: int
    logit: float


class TokenFeature(Record):
    """One of the strongest features at a token."""

    index: int
    name: str
    activation: float


class Tried(Record):
    """A change to the job or to the dictionary's arithmetic, and the FVU with it."""

    change: str
    fvu: Figure


class UnreadableRow(Record):
    """A stored row that cannot be shown; the server's log has the reason."""

    id: str
    why: str


class UsageAnswer(Record):
    """A job's language model usage so far, without answers from the cache, which cost nothing."""

    job: str
    total: UsageTotal
    rows: list[UsageRow]
    budget: BudgetAnswer | None


class UsageRow(Record):
    """The calls of one purpose to one model; seconds include all attempts and waits."""

    stage: str
    purpose: str
    model: str
    base_url: str
    transport: str
    calls: int
    answered: int
    unanswered: int
    attempts: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    tokens_known: bool
    cost_usd: float | None
    priced_usd: float
    p50_seconds: float | None
    p95_seconds: float | None


class UsageTotal(Record):
    """The sum of all rows."""

    calls: int
    answered: int
    unanswered: int
    attempts: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    cost_usd: float | None
    priced_usd: float


class VarianceComponentAnswer(Record):
    """One part of the variance of scores, in squared units of the score."""

    name: str
    estimate: float
    low: float | None
    high: float | None
    truncated: bool


class VerdictLineAnswer(Record):
    """One headline figure, the figure that it is compared with, and which is better."""

    figure: str
    trained: float | None
    control: float | None
    against: str
    difference: float | None
    low: float | None
    high: float | None
    verdict: Literal["better", "worse", "higher", "lower", "not told apart", "not compared"]
    why: str | None
    sentence: str


class WindowCounts(Record):
    """Exact counts of the whole corpus; pairs are of the explain and the test split."""

    tokens_seen: int
    tokens_active: int
    windows_seen: list[int]
    windows_active: list[int]
    max_activation: float
    mean_active: float
    firing_level: float


class WrittenText(Record):
    """A text that the subject wrote."""

    text: str
    tokens: list[str]


class ListAuditEntriesFilters(TypedDict, total=False):
    who: str | None
    action: str | None
    since: datetime | None
    until: datetime | None


class ListBatchesFilters(TypedDict, total=False):
    job: str | None
    status: Literal["open", "ended"] | None


class ListExplanationsFilters(TypedDict, total=False):
    run: str | None
    dictionary: str | None
    index: int | None
    explainer: str | None
    q: str | None


class ListFeatureListsFilters(TypedDict, total=False):
    owner: str | None


class ListFeaturesFilters(TypedDict, total=False):
    expand: str | None
    min_score: float | None
    max_score: float | None
    min_lift: float | None
    max_lift: float | None
    min_density: float | None
    max_density: float | None
    max_q_value: float | None
    min_shrunken_score: float | None
    max_shrunken_score: float | None
    max_p_value: float | None
    min_tokens_active: int | None
    max_tokens_active: int | None
    min_max_activation: float | None
    max_max_activation: float | None
    min_mean_active: float | None
    max_mean_active: float | None
    min_firing_level: float | None
    max_firing_level: float | None
    state: Literal["active", "rare", "dead"] | None
    list: str | None
    q: str | None
    label_explainer: str | None
    sort: FeatureSort | None
    order: Literal["asc", "desc"] | None
    run: str | None
    explainer: str | None


class ListFilesFilters(TypedDict, total=False):
    digest: str | None


class ListJobCallsFilters(TypedDict, total=False):
    stage: Stage | None
    index: int | None
    status: Literal["answered", "refused", "truncated", "failed"] | None


class ListJobsFilters(TypedDict, total=False):
    status: JobStatus | None
    owner: str | None


class ListReviewsFilters(TypedDict, total=False):
    dictionary: str | None
    run: str | None
    index: int | None
    author: str | None
    verdict: Literal["accept", "edit", "flag", "comment"] | None


class ListRunsFilters(TypedDict, total=False):
    dictionary: str | None


class SearchLabelsFilters(TypedDict, total=False):
    min_score: float | None
    max_score: float | None
    min_lift: float | None
    max_lift: float | None
    min_density: float | None
    max_density: float | None
    max_q_value: float | None
    min_shrunken_score: float | None
    max_shrunken_score: float | None
    max_p_value: float | None
    min_tokens_active: int | None
    max_tokens_active: int | None
    min_max_activation: float | None
    max_max_activation: float | None
    min_mean_active: float | None
    max_mean_active: float | None
    min_firing_level: float | None
    max_firing_level: float | None
    state: Literal["active", "rare", "dead"] | None
    list: str | None
    q: str | None
    mode: SearchMode | None
    dictionary: str | None
    run: str | None
    scorer: str | None
    explainer: str | None
