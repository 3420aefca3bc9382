"""Define the tables, with column types that both databases have.

Columns that listings filter and sort by are in `features`, `explanations` and `scores`. Large values are in `evidence` and `score_items`, so that a
page of a listing never reads a blob.
"""

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, DateTime, Float, ForeignKey, Index, Integer, LargeBinary, String, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR
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

# Lexemes of `interp.search.words`: searched by an FTS5 table on SQLite, by an inverted index on PostgreSQL.
Lexemes = Text().with_variant(TSVECTOR(), "postgresql")


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
    `corpus` sums up the files read. `dictionary_id` and `run_id` are those of the first dictionary; `job_runs` has the runs of all.
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
    owner: Mapped[str | None] = mapped_column(String(255))  # None: submitted while there were no keys
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
        Index("ix_jobs_owner", "owner", "created_at", "id"),
    )


class JobRunRow(Base):
    """The run of one of a job's dictionaries, at its place in the spec."""

    __tablename__ = "job_runs"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    place: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))

    __table_args__ = (Index("ix_job_runs_run", "run_id"),)


class UploadRow(Base):
    """A file or folder that a client has sent, named `upload://ID` in jobs.

    `digest` is that of a file's bytes, or of a folder's paths, sizes and digests. `expires_at` moves with each job that names it.
    """

    __tablename__ = "uploads"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    owner: Mapped[str | None] = mapped_column(String(255))
    name: Mapped[str] = mapped_column(String(255))
    is_folder: Mapped[bool]
    digest: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(BigInteger)
    files: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]

    __table_args__ = (Index("ix_uploads_created", "created_at", "id"), Index("ix_uploads_digest", "digest"), Index("ix_uploads_owner", "owner"))


class ExportRow(Base):
    """An export that a client asked for: `queued`, `running`, `completed` or `failed`.

    `request` is an `interp.exchange.request.ExportRequest`. The process that makes it holds a lease by `lease_token`. `size` and `sha256` are those
    of the object in the artifact store, which is deleted with the row, at `expires_at`.
    """

    __tablename__ = "exports"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    owner: Mapped[str | None] = mapped_column(String(255))
    status: Mapped[str] = mapped_column(String(16))
    request: Mapped[dict[str, Any]]
    features_done: Mapped[int] = mapped_column(BigInteger, server_default="0")
    features_total: Mapped[int | None] = mapped_column(BigInteger)
    file_name: Mapped[str | None] = mapped_column(Text)
    media_type: Mapped[str | None] = mapped_column(String(64))
    size: Mapped[int | None] = mapped_column(BigInteger)
    sha256: Mapped[str | None] = mapped_column(String(64))
    manifest: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    lease_token: Mapped[str | None] = mapped_column(String(36))
    lease_expires_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_exports_created", "created_at", "id"),
        Index("ix_exports_status", "status", "created_at"),
        Index("ix_exports_owner", "owner", "status"),
        Index("ix_exports_expires", "expires_at"),
    )


class LiveRequestRow(Base):
    """A live request: `waiting`, `running`, `done` or `failed`; deleted with its answer.

    `work` is an `interp.domain.live.LiveWork`, `error` a problem document. The worker that answers holds a lease by `lease_token`, and `phase` says
    what it does.
    """

    __tablename__ = "live_requests"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    owner: Mapped[str | None] = mapped_column(String(255))
    status: Mapped[str] = mapped_column(String(16))
    phase: Mapped[str | None] = mapped_column(String(16))
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    models_key: Mapped[str] = mapped_column(String(64))
    work: Mapped[dict[str, Any]]
    reply: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    lease_token: Mapped[str | None] = mapped_column(String(36))
    lease_expires_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    deadline_at: Mapped[datetime]

    __table_args__ = (
        Index("ix_live_requests_status", "status", "created_at"),
        Index("ix_live_requests_owner", "owner", "status"),
        Index("ix_live_requests_deadline", "deadline_at"),
        Index("ix_live_requests_run", "run_id"),
    )


class UploadBlobRow(Base):
    """The content of files with one digest: `object` of the artifact store."""

    __tablename__ = "upload_blobs"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    object: Mapped[str] = mapped_column(String(128))
    size: Mapped[int] = mapped_column(BigInteger)


class UploadFileRow(Base):
    """A file of an upload: its path in the folder, or the upload's name."""

    __tablename__ = "upload_files"

    upload_id: Mapped[str] = mapped_column(ForeignKey("uploads.id", ondelete="CASCADE"), primary_key=True)
    path: Mapped[str] = mapped_column(Text, primary_key=True)
    digest: Mapped[str] = mapped_column(ForeignKey("upload_blobs.digest"))

    __table_args__ = (Index("ix_upload_files_digest", "digest"),)


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


class ApiKeyRow(Base):
    """An API key, of which the SHA-256 is kept; rows are never deleted.

    `name` is the owner of what the key makes; keys of one name are one owner's. `created_by` names who made the key. `last_used_at` is written at
    most once a minute.
    """

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(8), primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    digest: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[list[Any]]
    created_by: Mapped[str] = mapped_column(String(255))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]

    __table_args__ = (Index("ix_api_keys_created", "created_at", "id"),)


class KeyQuotaRow(Base):
    """What a key may use at most; NULL is no limit.

    The lock of its row makes the checks of one key serial.
    """

    __tablename__ = "key_quotas"

    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id"), primary_key=True)
    max_jobs: Mapped[int | None] = mapped_column(Integer)
    features_per_day: Mapped[int | None] = mapped_column(BigInteger)
    picodollars_per_month: Mapped[int | None] = mapped_column(BigInteger)


class KeyJobRow(Base):
    """A job that a key submitted, and the number of features that it counts for."""

    __tablename__ = "key_jobs"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id"))
    at: Mapped[datetime]
    features: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (Index("ix_key_jobs_key", "key_id", "at"),)


class BrowserSessionRow(Base):
    """A browser's session of a key, or of a user where `key_id` is NULL.

    `digest` is the SHA-256 of its random id. The rights of a key's session are the key's own; `scopes` are those of a user.
    """

    __tablename__ = "browser_sessions"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    key_id: Mapped[str | None] = mapped_column(ForeignKey("api_keys.id"))
    name: Mapped[str] = mapped_column(String(255))
    owner: Mapped[str] = mapped_column(String(255))
    scopes: Mapped[list[Any]]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]

    __table_args__ = (Index("ix_browser_sessions_expires", "expires_at"),)


class SharedSecretRow(Base):
    """A random secret that all processes share, made by the first."""

    __tablename__ = "shared_secrets"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[str] = mapped_column(String(64))


class AuditRow(Base):
    """A request to change something, and its outcome; a trigger refuses changes of rows.

    `who` and `key_id` are NULL where the sender is unknown. `action` is the operation's name, `target` the path or the address of what was made.
    `status` is that of the answer and `code` that of its problem. `unlisted` counts the refused requests of unknown senders before this one that
    have no row of their own, since there were too many.
    """

    __tablename__ = "audit_log"

    id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
    at: Mapped[datetime]
    who: Mapped[str | None] = mapped_column(String(255))
    key_id: Mapped[str | None] = mapped_column(String(8))
    address: Mapped[str | None] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(64))
    target: Mapped[str] = mapped_column(Text)
    status: Mapped[int] = mapped_column(Integer)
    code: Mapped[str | None] = mapped_column(String(64))
    request_id: Mapped[str | None] = mapped_column(String(128))
    unlisted: Mapped[int] = mapped_column(Integer, server_default="0")

    __table_args__ = (
        # The listing's order with each filter; `at` alone finds what is old.
        Index("ix_audit_log_who", "who", "id"),
        Index("ix_audit_log_action", "action", "id"),
        Index("ix_audit_log_at", "at"),
    )


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


class HealthReportRow(Base):
    """The last health report of a run, as JSON, and the job that made it.

    The report is an `interp.health.report.HealthReport`.
    """

    __tablename__ = "health_reports"

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True, autoincrement=False)
    job_id: Mapped[str] = mapped_column(String(36))
    report: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class LeagueTableRow(Base):
    """The league table of a run (`interp.analysis.stored_league`), as JSON.

    It holds as long as the run has exactly `changes` rows of `score_changes`.
    """

    __tablename__ = "league_tables"

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True, autoincrement=False)
    changes: Mapped[int] = mapped_column(BigInteger)
    content: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class ScoreChangeRow(Base):
    """A transaction that changed a run's scores, or the labels that its jobs made.

    Rows are only added, so that writers need not wait for one another, and their number tells any change that a reader sees.
    """

    __tablename__ = "score_changes"

    id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))

    __table_args__ = (Index("ix_score_changes_run_id", "run_id"),)


class FeatureMapRow(Base):
    """The places of a dictionary's features in a plane, and the job that found them.

    `places` is as `interp.store.results.feature_maps` packs it, `quality` an `interp.health.layout.Quality`.
    """

    __tablename__ = "feature_maps"

    dictionary_id: Mapped[int] = mapped_column(ForeignKey("dictionaries.id", ondelete="CASCADE"), primary_key=True, autoincrement=False)
    job_id: Mapped[str] = mapped_column(String(36))
    seed: Mapped[int] = mapped_column(Integer)
    places: Mapped[bytes]
    quality: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class MeasurementRow(Base):
    """What a chunk measured of a feature for a scorer, as packed JSON.

    `name` says what it is (`generation/texts`), `settings_digest` for which settings and labels.
    """

    __tablename__ = "measurements"

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    settings_digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    feature: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    content: Mapped[bytes]
    created_at: Mapped[datetime]


class EvidenceRow(Base):
    """One feature's evidence (`interp.files.evidence_codec`), and its density, which nulls are matched on."""

    __tablename__ = "evidence"

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True, autoincrement=False)
    feature: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    density: Mapped[float] = mapped_column(Float)
    blob: Mapped[bytes]


# Columns that listings of features filter by.
FILTERED = ("state", "score", "lift", "density", "q_value")
# Columns that listings of features are sorted by, each with an index.
SORTED = (
    *("feature", "score", "shrunken_score", "lift", "p_value", "q_value"),
    *("density", "tokens_active", "max_activation", "mean_active", "firing_level"),
    *("label", "explainer"),
)


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
    label_id: Mapped[int | None] = mapped_column(BigInteger)  # of the label's text in `labels`
    explainer: Mapped[str | None] = mapped_column(Sortable)  # of the explanation
    scorer: Mapped[str | None] = mapped_column(String(64))  # of these figures
    score: Mapped[float | None] = mapped_column(Float)
    lift: Mapped[float | None] = mapped_column(Float)
    p_value: Mapped[float | None] = mapped_column(Float)
    q_value: Mapped[float | None] = mapped_column(Float)
    shrunken_score: Mapped[float | None] = mapped_column(Float)

    __table_args__ = (
        *(_listed_by(column) for column in SORTED),
        Index("ix_features_label_id", "label_id"),
    )


class FeatureListRow(Base):
    """A named list of features of any dictionaries; `size` counts them."""

    __tablename__ = "feature_lists"

    id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    description: Mapped[str] = mapped_column(Text, server_default="")
    owner: Mapped[str | None] = mapped_column(String(255))
    size: Mapped[int] = mapped_column(Integer, server_default="0")
    created_at: Mapped[datetime]
    changed_at: Mapped[datetime]

    __table_args__ = (Index("ix_feature_lists_owner", "owner", "id"),)


class FeatureListItemRow(Base):
    """A feature in a list."""

    __tablename__ = "feature_list_items"

    list_id: Mapped[int] = mapped_column(ForeignKey("feature_lists.id", ondelete="CASCADE"), primary_key=True, autoincrement=False)
    dictionary_id: Mapped[int] = mapped_column(ForeignKey("dictionaries.id"), primary_key=True, autoincrement=False)
    feature: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    added_at: Mapped[datetime]


class ReviewRow(Base):
    """What a person said of a feature's label: `accept`, `edit`, `flag` or `comment`.

    `label` is the judged text as it was then, `text` the label that an edit wrote.
    """

    __tablename__ = "reviews"

    id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    feature: Mapped[int] = mapped_column(Integer)
    explanation_id: Mapped[int | None] = mapped_column(RowId)
    label: Mapped[str | None] = mapped_column(Text)
    verdict: Mapped[str] = mapped_column(String(8))
    text: Mapped[str | None] = mapped_column(Text)
    comment: Mapped[str | None] = mapped_column(Text)
    author: Mapped[str] = mapped_column(String(255))
    created_at: Mapped[datetime]

    __table_args__ = (
        Index("ix_reviews_feature", "run_id", "feature", "id"),
        Index("ix_reviews_explanation", "explanation_id", "author", "id"),
        Index("ix_reviews_run", "run_id", "id"),
    )


class LabelRow(Base):
    """A label's text as search reads it, once for all its features.

    `digest` is the sha256 of the text, `length` its number of words. The indexes on `words` are made by migration 0024.
    """

    __tablename__ = "labels"

    id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    words: Mapped[str] = mapped_column(Lexemes)
    length: Mapped[int] = mapped_column(Integer)


class LabelVectorRow(Base):
    """The vector of a label by one version of an embedder, and its code (`interp.search.codes`)."""

    __tablename__ = "label_vectors"

    id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
    label_id: Mapped[int] = mapped_column(ForeignKey("labels.id", ondelete="CASCADE"))
    embedder: Mapped[str] = mapped_column(String(128))
    code: Mapped[bytes]
    vector: Mapped[bytes]

    __table_args__ = (UniqueConstraint("label_id", "embedder"),)


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
    cached_tokens: Mapped[int] = mapped_column(BigInteger, server_default="0")
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
    cached_tokens: Mapped[int] = mapped_column(BigInteger, server_default="0")
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
    cached_tokens: Mapped[int] = mapped_column(BigInteger, server_default="0")
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
