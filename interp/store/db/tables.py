"""Define the tables, with column types that both databases have.

Columns that listings filter and sort by are in `features`, `explanations` and `scores`. Large values are in `evidence` and `score_items`, so that a
page of a listing never reads a blob.
"""

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, DateTime, Float, ForeignKey, Index, Integer, LargeBinary, String, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from interp.domain.polarity import address

# None is stored as SQL NULL, not as the JSON text "null".
Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
# SQLite gives row ids only to INTEGER primary keys.
RowId = BigInteger().with_variant(Integer(), "sqlite")
# Text that listings sort and search: by code points on both databases, in any locale of the server.
Sortable = Text().with_variant(Text(collation="C"), "postgresql")


class UtcTime(TypeDecorator[datetime]):
    """A point in time in UTC; SQLite stores no time zone, so reading adds it."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.replace(tzinfo=value.tzinfo or UTC).astimezone(UTC)


class Base(DeclarativeBase):
    type_annotation_map: ClassVar[dict[Any, Any]] = {dict[str, Any]: Json, list[Any]: Json, datetime: UtcTime, bytes: LargeBinary}


class JobRow(Base):
    """A job, or a check (`kind`), whose report is its summary.

    `spec` is the JobSpec as JSON. `error` is the problem document of a failed job, `pause_reason` that of a paused one. `control_of` names the job
    that this one is the random-weights control of; they share its budget. `models_key` is `interp.planning.fingerprint.models_key`: workers with
    these models loaded are preferred. `traceparent` is the W3C trace context of the submitting request. `warnings`: `interp.domain.job_warnings`.
    `corpus` sums up the files read.
    """

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16), server_default="job")
    status: Mapped[str] = mapped_column(String(16))
    priority: Mapped[int] = mapped_column(Integer, default=0)
    spec: Mapped[dict[str, Any]]
    idempotency_key: Mapped[str | None] = mapped_column(String(255), unique=True)
    request_digest: Mapped[str] = mapped_column(String(64))
    dictionary_id: Mapped[int | None] = mapped_column(ForeignKey("dictionaries.id"))
    run_id: Mapped[int | None] = mapped_column(ForeignKey("runs.id"))
    features_total: Mapped[int | None] = mapped_column(Integer)
    features_failed: Mapped[int] = mapped_column(Integer, default=0)
    summary: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    pause_reason: Mapped[dict[str, Any] | None]
    control_of: Mapped[str | None] = mapped_column(String(36))
    models_key: Mapped[str | None] = mapped_column(String(64))
    traceparent: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    paused_at: Mapped[datetime | None]
    cancelling_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    inactive_seconds: Mapped[float] = mapped_column(Float, server_default="0")
    warnings: Mapped[list[Any] | None]
    corpus: Mapped[dict[str, Any] | None]

    __table_args__ = (
        Index("ix_jobs_status_created", "status", "created_at"),
        Index("ix_jobs_created", "created_at", "id"),
        Index("ix_jobs_control", "control_of"),
        Index("ix_jobs_run", "run_id", "created_at"),
    )


NOTIFIED = "notified_at IS NOT NULL"


class ChunkRow(Base):
    """A leased unit of a job's work.

    `waits_for` names what must be done first: a stage, a chunk `stage:number`, or a span `stage:first-last`. `awaited_in` lists the spans that this
    chunk is in. `notified_at` is when a worker was last notified of it, NULL once a worker has answered.
    """

    __tablename__ = "chunks"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    stage: Mapped[str] = mapped_column(String(16))
    number: Mapped[int] = mapped_column(Integer)
    queue: Mapped[str] = mapped_column(String(16))
    priority: Mapped[int] = mapped_column(Integer, default=0)
    payload: Mapped[dict[str, Any]]
    status: Mapped[str] = mapped_column(String(16))
    waits_for: Mapped[str | None] = mapped_column(String(40))
    awaited_in: Mapped[list[Any] | None]
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    units_total: Mapped[int] = mapped_column(BigInteger, default=0)
    units_done: Mapped[int] = mapped_column(BigInteger, default=0)
    lease_owner: Mapped[str | None] = mapped_column(String(128))
    lease_token: Mapped[str | None] = mapped_column(String(36))
    lease_expires_at: Mapped[datetime | None]
    notified_at: Mapped[datetime | None]
    error: Mapped[dict[str, Any] | None]
    result: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("job_id", "stage", "number"),
        Index("ix_chunks_ready", "job_id", "queue", "status", "number"),
        Index("ix_chunks_stage", "job_id", "stage", "status"),
        Index("ix_chunks_waits", "job_id", "waits_for", "status"),
        Index("ix_chunks_lease", "status", "lease_expires_at"),
        Index("ix_chunks_notified", "queue", "notified_at", postgresql_where=text(NOTIFIED), sqlite_where=text(NOTIFIED)),
    )


class FairShareRow(Base):
    """The time of the last claim in a job's queue, by which jobs take turns."""

    __tablename__ = "fair_shares"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    queue: Mapped[str] = mapped_column(String(16), primary_key=True)
    last_claimed_at: Mapped[datetime | None]


class WorkerRow(Base):
    """A worker process at its last heartbeat, presumed dead after one lease without any.

    `memory_bytes` is what collection may use there, `loaded_models` the `models_key` of each pair of models that it has loaded.
    """

    __tablename__ = "workers"

    owner: Mapped[str] = mapped_column(String(128), primary_key=True)
    queue: Mapped[str] = mapped_column(String(16))
    name: Mapped[str] = mapped_column(String(128))
    version: Mapped[str] = mapped_column(String(32))
    device: Mapped[str | None] = mapped_column(String(64))
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    loaded_models: Mapped[list[Any]]
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]

    __table_args__ = (Index("ix_workers_seen", "seen_at"),)


class WebhookRow(Base):
    """A webhook event, written with the job's change and sent until delivered or given up."""

    __tablename__ = "webhooks"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    event: Mapped[str] = mapped_column(String(32))
    url: Mapped[str] = mapped_column(Text)
    payload: Mapped[dict[str, Any]]
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    next_attempt_at: Mapped[datetime | None]  # NULL: delivered, or given up
    delivered_at: Mapped[datetime | None]
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]

    __table_args__ = (Index("ix_webhooks_next_attempt", "next_attempt_at"), Index("ix_webhooks_job", "job_id", "created_at"))


class SubjectRow(Base):
    """A model that evidence was collected from, with the vocabulary to show contexts."""

    __tablename__ = "subjects"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(255))
    config: Mapped[dict[str, Any]]
    vocabulary: Mapped[bytes]
    created_at: Mapped[datetime]


class DictionaryRow(Base):
    """A sparse dictionary at its hook points of one subject; `name` is unique (`pystdlib@1-res`)."""

    __tablename__ = "dictionaries"

    id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
    name: Mapped[str] = mapped_column(String(255), unique=True)
    digest: Mapped[str] = mapped_column(String(64))
    subject_id: Mapped[str] = mapped_column(ForeignKey("subjects.id"))
    hook_point: Mapped[str] = mapped_column(Text)  # several are joined by +
    architecture: Mapped[str] = mapped_column(String(64))
    d_in: Mapped[int] = mapped_column(Integer)
    n_features: Mapped[int] = mapped_column(Integer)  # of both signs: negative sides are the second half
    polarity: Mapped[str] = mapped_column(String(8), server_default="positive")
    config: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]

    def feature_name(self, index: int) -> str:
        """Return a feature's name, `pystdlib@1-res:123` or (negative side) `pystdlib@1-res:123-`."""
        return f"{self.name}:{address(index, self.n_features, self.polarity)}"


class RunRow(Base):
    """One collection: a subject's dictionary, a corpus and settings; it owns all results.

    `digest` is the digest of `identity`, which is all that decides the evidence. `number` counts the runs of a dictionary from 1: `pystdlib@1-res/2`
    names one. `covered_features` had evidence when a job of the run last completed, at `completed_at`. `pinned_at` is set where an operator chose
    this run as the dictionary's current one.
    """

    __tablename__ = "runs"

    id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    dictionary_id: Mapped[int] = mapped_column(ForeignKey("dictionaries.id"))
    number: Mapped[int] = mapped_column(Integer)
    identity: Mapped[dict[str, Any]]
    corpus: Mapped[dict[str, Any]]
    tokens: Mapped[int] = mapped_column(BigInteger)
    covered_features: Mapped[int] = mapped_column(Integer, server_default="0")
    summaries_written: Mapped[int] = mapped_column(Integer, server_default="0")
    created_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]
    pinned_at: Mapped[datetime | None]

    __table_args__ = (UniqueConstraint("dictionary_id", "number"),)


class EvidenceRow(Base):
    """One feature's evidence (`interp.files.evidence_codec`), and its density, which nulls are matched on."""

    __tablename__ = "evidence"

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True, autoincrement=False)
    feature: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    density: Mapped[float] = mapped_column(Float)
    blob: Mapped[bytes]


# Columns that listings of features filter by.
FILTERED = ("state", "score", "lift", "density", "q_value")


def _listed_by(column: str) -> Index:
    """Return the index of one sort of features: its order, then all filter columns.

    A page is then one scan from its cursor that checks every filter in the index, at some 40 ns per entry, and reads only the rows of the page.
    """
    order = list(dict.fromkeys((column, "feature")))
    return Index(f"ix_features_{column}", "run_id", *order, *(name for name in FILTERED if name != column))


class FeatureRow(Base):
    """A feature in the listing of a run: evidence statistics and its best explanation."""

    __tablename__ = "features"

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"), primary_key=True, autoincrement=False)
    feature: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    state: Mapped[str] = mapped_column(String(8))  # active, rare or dead
    density: Mapped[float] = mapped_column(Float)
    tokens_active: Mapped[int] = mapped_column(BigInteger)
    max_activation: Mapped[float] = mapped_column(Float)
    mean_active: Mapped[float] = mapped_column(Float)
    firing_level: Mapped[float] = mapped_column(Float, server_default="0")  # the activation above which the feature fires
    explanation_id: Mapped[int | None] = mapped_column(BigInteger)
    label: Mapped[str | None] = mapped_column(Sortable)
    scorer: Mapped[str | None] = mapped_column(String(64))  # of these figures
    score: Mapped[float | None] = mapped_column(Float)
    lift: Mapped[float | None] = mapped_column(Float)
    q_value: Mapped[float | None] = mapped_column(Float)
    shrunken_score: Mapped[float | None] = mapped_column(Float)

    __table_args__ = tuple(_listed_by(column) for column in ("feature", "score", "shrunken_score", "lift", "density", "label"))


class ExplanationRow(Base):
    """A label with its provenance or failure, per (run, feature, explainer, settings)."""

    __tablename__ = "explanations"

    id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"))
    feature: Mapped[int] = mapped_column(Integer)
    explainer: Mapped[str] = mapped_column(String(64))
    settings_digest: Mapped[str] = mapped_column(String(64))
    text: Mapped[str | None] = mapped_column(Sortable)
    failure: Mapped[str | None] = mapped_column(Text)
    rule: Mapped[dict[str, Any] | None]
    provenance: Mapped[dict[str, Any]]
    job_id: Mapped[str | None] = mapped_column(String(36))
    created_at: Mapped[datetime]

    __table_args__ = (
        UniqueConstraint("run_id", "feature", "explainer", "settings_digest"),
        # One index per set of filters of the listing, which is in the order (feature, id) of each run.
        Index("ix_explanations_feature", "run_id", "feature", "id", "explainer"),
        Index("ix_explanations_explainer", "run_id", "explainer", "feature", "id"),
    )


class ScoreRow(Base):
    """One score of one explanation, with its interval, counts and null.

    A `value` of NULL has a `reason`. `null_values` is the score of each null; `controls` a list of `ControlResult` as JSON. `lift_reason` says why a
    lift has no interval, `p_method` how `p_value` was made (rank, pooled, paired), and `p_paired` is the p value that needs no other feature
    (`interp.stats.paired`). `shrunken_value` is the value shrunk to the dictionary's mean by its uncertainty (`interp.stats.shrinkage`).
    """

    __tablename__ = "scores"

    id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
    explanation_id: Mapped[int] = mapped_column(ForeignKey("explanations.id", ondelete="CASCADE"))
    run_id: Mapped[int] = mapped_column(RowId)  # the explanation's
    feature: Mapped[int] = mapped_column(Integer)
    scorer: Mapped[str] = mapped_column(String(64))
    settings_digest: Mapped[str] = mapped_column(String(64))
    metric: Mapped[str] = mapped_column(String(64))
    value: Mapped[float | None] = mapped_column(Float)
    low: Mapped[float | None] = mapped_column(Float)
    high: Mapped[float | None] = mapped_column(Float)
    interval_method: Mapped[str | None] = mapped_column(String(64))
    reason: Mapped[str | None] = mapped_column(Text)
    answered: Mapped[int] = mapped_column(Integer)
    failed: Mapped[int] = mapped_column(Integer)
    abstained: Mapped[int] = mapped_column(Integer)
    null_value: Mapped[float | None] = mapped_column(Float)
    lift: Mapped[float | None] = mapped_column(Float)
    lift_low: Mapped[float | None] = mapped_column(Float)
    lift_high: Mapped[float | None] = mapped_column(Float)
    lift_method: Mapped[str | None] = mapped_column(String(64))
    lift_reason: Mapped[str | None] = mapped_column(Text)
    p_value: Mapped[float | None] = mapped_column(Float)
    p_method: Mapped[str | None] = mapped_column(String(16))
    p_paired: Mapped[float | None] = mapped_column(Float)
    p_paired_reason: Mapped[str | None] = mapped_column(Text)
    q_value: Mapped[float | None] = mapped_column(Float)
    null_reason: Mapped[str | None] = mapped_column(Text)
    null_values: Mapped[list[Any] | None]
    controls: Mapped[list[Any] | None]
    shrunken_value: Mapped[float | None] = mapped_column(Float)
    details: Mapped[dict[str, Any]]
    job_id: Mapped[str | None] = mapped_column(String(36))
    created_at: Mapped[datetime]

    __table_args__ = (
        UniqueConstraint("explanation_id", "scorer", "settings_digest"),
        Index("ix_scores_figures", "run_id", "scorer", "feature", "explanation_id"),
    )


class ScoreItemsRow(Base):
    """The questions and answers of one score, packed by `interp.score.items.codec`."""

    __tablename__ = "score_items"

    score_id: Mapped[int] = mapped_column(ForeignKey("scores.id", ondelete="CASCADE"), primary_key=True, autoincrement=False)
    blob: Mapped[bytes]


class LlmReplyRow(Base):
    """A cached answer; `prompt` and `raw` are compressed JSON texts (`interp.store.db.text`)."""

    __tablename__ = "llm_replies"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    model: Mapped[str] = mapped_column(String(255))
    base_url: Mapped[str] = mapped_column(Text)
    prompt: Mapped[bytes]
    raw: Mapped[bytes]
    prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    completion_tokens: Mapped[int] = mapped_column(BigInteger)
    usage_known: Mapped[bool]
    cost_usd: Mapped[float | None] = mapped_column(Float)
    created_at: Mapped[datetime]


class LlmCallRow(Base):
    """One question that was sent, with all attempts; cached answers leave no row.

    `prompt` and `raw` of an answered call are in `llm_replies` under `key`, those of other calls here.
    """

    __tablename__ = "llm_calls"

    id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(String(36))
    chunk_id: Mapped[str] = mapped_column(String(36))
    stage: Mapped[str] = mapped_column(String(16))
    feature: Mapped[int | None] = mapped_column(Integer)
    purpose: Mapped[str] = mapped_column(String(128))
    key: Mapped[str] = mapped_column(String(64))
    model: Mapped[str] = mapped_column(String(255))
    base_url: Mapped[str] = mapped_column(Text)
    transport: Mapped[str] = mapped_column(String(8))
    template: Mapped[str] = mapped_column(String(128))
    status: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[int] = mapped_column(Integer)
    prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    completion_tokens: Mapped[int] = mapped_column(BigInteger)
    usage_known: Mapped[bool]
    cost_usd: Mapped[float | None] = mapped_column(Float)
    seconds: Mapped[float] = mapped_column(Float)
    error: Mapped[str | None] = mapped_column(Text)
    prompt: Mapped[bytes | None]
    raw: Mapped[bytes | None]
    created_at: Mapped[datetime]

    __table_args__ = (
        # The listing's order, with and without a feature, then its filters.
        Index("ix_llm_calls_job", "job_id", "id", "stage", "status"),
        Index("ix_llm_calls_feature", "job_id", "feature", "id", "stage", "status"),
        Index("ix_llm_calls_key", "key"),
    )


class LlmBudgetRow(Base):
    """The caps, spent and reserved sums of a job; a cap of NULL is none.

    `unsettled` was reserved by workers that died or lost their lease: those calls may have been billed, so it counts as spent. Dollars are counted in
    whole picodollars: sums that are compared with a cap must not drift as floats do.
    """

    __tablename__ = "llm_budgets"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    cap_calls: Mapped[int | None] = mapped_column(BigInteger)
    cap_tokens: Mapped[int | None] = mapped_column(BigInteger)
    cap_picodollars: Mapped[int | None] = mapped_column(BigInteger)
    spent_calls: Mapped[int] = mapped_column(BigInteger)
    spent_tokens: Mapped[int] = mapped_column(BigInteger)
    spent_picodollars: Mapped[int] = mapped_column(BigInteger)
    reserved_calls: Mapped[int] = mapped_column(BigInteger)
    reserved_tokens: Mapped[int] = mapped_column(BigInteger)
    reserved_picodollars: Mapped[int] = mapped_column(BigInteger)
    unsettled_calls: Mapped[int] = mapped_column(BigInteger)
    unsettled_tokens: Mapped[int] = mapped_column(BigInteger)
    unsettled_picodollars: Mapped[int] = mapped_column(BigInteger)


class LlmReservationRow(Base):
    """The amounts of a budget that a live lease has reserved; required for reserving more."""

    __tablename__ = "llm_reservations"

    lease_token: Mapped[str] = mapped_column(String(36), primary_key=True)
    budget_id: Mapped[str] = mapped_column(ForeignKey("llm_budgets.job_id", ondelete="CASCADE"))
    chunk_id: Mapped[str] = mapped_column(String(36))
    calls: Mapped[int] = mapped_column(BigInteger)
    tokens: Mapped[int] = mapped_column(BigInteger)
    picodollars: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (Index("ix_llm_reservations_budget", "budget_id"),)


class LlmBatchRow(Base):
    """A batch at an endpoint; `id` is the endpoint's, `ended_at` NULL while answers may come."""

    __tablename__ = "llm_batches"

    job_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    id: Mapped[str] = mapped_column(String(255), primary_key=True)
    chunk_id: Mapped[str] = mapped_column(String(36))
    base_url: Mapped[str] = mapped_column(Text)
    model: Mapped[str] = mapped_column(String(255))
    keys: Mapped[list[Any]]
    created_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]

    __table_args__ = (Index("ix_llm_batches_chunk", "chunk_id", "ended_at"),)


class StageCountRow(Base):
    """The counts of a job's stage, kept by triggers (`migrations/counts.py`, `migrations/progress.py`).

    `open` chunks are waiting, ready or leased. `done`, `failed` and `cancelled` count every end: a chunk that is retried counts again; `units` adds
    up the units of those done. `released_at` is when a chunk was first, or first again after a retry, ready.

    In columns that end in `now`, a reopened chunk is subtracted; `units_now` adds up what ended chunks have done. `started_at` is the first start of
    a chunk that has ended since, `finished_at` the last end, `inactive_seconds` the pauses between (`interp.store.queue.paused_time`).
    """

    __tablename__ = "stage_counts"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    stage: Mapped[str] = mapped_column(String(16), primary_key=True)
    queue: Mapped[str] = mapped_column(String(16))
    open: Mapped[int] = mapped_column(BigInteger)
    waiting: Mapped[int] = mapped_column(BigInteger)
    done: Mapped[int] = mapped_column(BigInteger)
    failed: Mapped[int] = mapped_column(BigInteger)
    cancelled: Mapped[int] = mapped_column(BigInteger)
    units: Mapped[int] = mapped_column(BigInteger)
    released_at: Mapped[datetime | None]
    chunks: Mapped[int] = mapped_column(BigInteger, server_default="0")
    done_now: Mapped[int] = mapped_column(BigInteger, server_default="0")
    failed_now: Mapped[int] = mapped_column(BigInteger, server_default="0")
    units_total: Mapped[int] = mapped_column(BigInteger, server_default="0")
    units_now: Mapped[int] = mapped_column(BigInteger, server_default="0")
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    inactive_seconds: Mapped[float] = mapped_column(Float, server_default="0")


class LlmTotalRow(Base):
    """Sums of all recorded calls to a model, in a few slots that limit contention.

    `picodollars` are 1e-12 US dollars; `unpriced` calls are those without a known price. Sums never fall: retention deletes calls only.
    """

    __tablename__ = "llm_totals"

    model: Mapped[str] = mapped_column(String(255), primary_key=True)
    status: Mapped[str] = mapped_column(String(16), primary_key=True)
    slot: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    calls: Mapped[int] = mapped_column(BigInteger)
    attempts: Mapped[int] = mapped_column(BigInteger)
    prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    completion_tokens: Mapped[int] = mapped_column(BigInteger)
    picodollars: Mapped[int] = mapped_column(BigInteger)
    unpriced: Mapped[int] = mapped_column(BigInteger)


class CallGroup:
    """Key columns of a job's calls of one purpose to one model."""

    job_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    stage: Mapped[str] = mapped_column(String(16), primary_key=True)
    purpose: Mapped[str] = mapped_column(String(128), primary_key=True)
    model: Mapped[str] = mapped_column(String(255), primary_key=True)
    base_url: Mapped[str] = mapped_column(Text, primary_key=True)
    transport: Mapped[str] = mapped_column(String(8), primary_key=True)


class LlmUsageRow(CallGroup, Base):
    """Sums of a job's calls of one purpose to one model, one row per slot.

    `picodollars` are 1e-12 US dollars. `usage_unknown` calls have tokens that the endpoint did not count, `unpriced` ones no known price.
    """

    __tablename__ = "llm_usage"

    slot: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    questions: Mapped[int] = mapped_column(BigInteger)
    answered: Mapped[int] = mapped_column(BigInteger)
    attempts: Mapped[int] = mapped_column(BigInteger)
    prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    completion_tokens: Mapped[int] = mapped_column(BigInteger)
    usage_unknown: Mapped[int] = mapped_column(BigInteger)
    unpriced: Mapped[int] = mapped_column(BigInteger)
    picodollars: Mapped[int] = mapped_column(BigInteger)
    seconds: Mapped[float] = mapped_column(Float)


class LlmLatencyRow(CallGroup, Base):
    """One bucket and slot of a latency histogram of a job's calls (`interp.store.llm.call_stats`)."""

    __tablename__ = "llm_latency"

    bucket: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    slot: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    calls: Mapped[int] = mapped_column(BigInteger)
