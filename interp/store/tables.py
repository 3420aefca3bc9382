"""The tables. Portable types only; what the two dialects do differently stands in `dialect.py`.

The book is three tables that carry what listings filter and sort by (`features`, `explanations`, `scores`) and their heavy parts beside
them (`evidence`, `score_items`), so that a page of a listing never reads a blob.
"""

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, DateTime, Float, ForeignKey, Index, Integer, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

# None is stored as SQL NULL, not as the JSON text "null".
Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
# SQLite gives row ids only to INTEGER primary keys.
RowId = BigInteger().with_variant(Integer(), "sqlite")


class UtcTime(TypeDecorator[datetime]):
    """A point in time, always aware and in UTC; SQLite keeps no zone, so it is put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.replace(tzinfo=value.tzinfo or UTC).astimezone(UTC)


class Base(DeclarativeBase):
    type_annotation_map: ClassVar[dict[Any, Any]] = {dict[str, Any]: Json, list[Any]: Json, datetime: UtcTime, bytes: LargeBinary}


class Job(Base):
    """A user's order. `spec` is the JobSpec as JSON; `error` a problem document."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    status: Mapped[str] = mapped_column(String(16))
    priority: Mapped[int] = mapped_column(Integer, default=0)
    spec: Mapped[dict[str, Any]]
    idempotency_key: Mapped[str | None] = mapped_column(String(255), unique=True)
    request_digest: Mapped[str] = mapped_column(String(64))
    dictionary_id: Mapped[int | None] = mapped_column(ForeignKey("dictionaries.id"))
    evidence_set_id: Mapped[str | None] = mapped_column(ForeignKey("evidence_sets.id"))
    features_total: Mapped[int | None] = mapped_column(Integer)
    features_failed: Mapped[int] = mapped_column(Integer, default=0)
    summary: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    cancelling_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    __table_args__ = (Index("ix_jobs_status_created", "status", "created_at"), Index("ix_jobs_created", "created_at", "id"))


class Chunk(Base):
    """A leased unit of a job's work. `waits_for` names the stage, or the chunk `stage:number`, that must be done first."""

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
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    units_total: Mapped[int] = mapped_column(BigInteger, default=0)
    units_done: Mapped[int] = mapped_column(BigInteger, default=0)
    lease_owner: Mapped[str | None] = mapped_column(String(128))
    lease_token: Mapped[str | None] = mapped_column(String(36))
    lease_expires_at: Mapped[datetime | None]
    rung_at: Mapped[datetime | None]
    error: Mapped[dict[str, Any] | None]
    result: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("job_id", "stage", "number"),
        Index("ix_chunks_claim", "queue", "status", "priority", "created_at"),
        Index("ix_chunks_lease", "status", "lease_expires_at"),
        Index("ix_chunks_job", "job_id", "status"),
    )


class Subject(Base):
    """A language model that evidence was gathered from, with its vocabulary so that contexts can be shown without it."""

    __tablename__ = "subjects"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(255))
    config: Mapped[dict[str, Any]]
    vocabulary: Mapped[bytes]
    created_at: Mapped[datetime]


class Dictionary(Base):
    """A sparse dictionary at one hook point of one subject. `name` is unique: `pystdlib@1-res`."""

    __tablename__ = "dictionaries"

    id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
    name: Mapped[str] = mapped_column(String(255), unique=True)
    digest: Mapped[str] = mapped_column(String(64))
    subject_id: Mapped[str] = mapped_column(ForeignKey("subjects.id"))
    hook_point: Mapped[str] = mapped_column(String(255))
    architecture: Mapped[str] = mapped_column(String(64))
    width: Mapped[int] = mapped_column(Integer)
    features: Mapped[int] = mapped_column(Integer)
    config: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class EvidenceSet(Base):
    """One identity of evidence: everything that decided it, and what the pass as a whole saw."""

    __tablename__ = "evidence_sets"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    dictionary_id: Mapped[int] = mapped_column(ForeignKey("dictionaries.id"))
    identity: Mapped[dict[str, Any]]
    corpus: Mapped[dict[str, Any]]
    tokens: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime]

    __table_args__ = (Index("ix_evidence_sets_dictionary", "dictionary_id"),)


class Evidence(Base):
    """One feature's evidence: the blob of `interp.codec`, read whole or not at all; beside it what nulls are matched on."""

    __tablename__ = "evidence"

    set_id: Mapped[str] = mapped_column(ForeignKey("evidence_sets.id", ondelete="CASCADE"), primary_key=True)
    feature: Mapped[int] = mapped_column(Integer, primary_key=True)
    density: Mapped[float] = mapped_column(Float)
    blob: Mapped[bytes]


class Feature(Base):
    """A feature as listings show it: counts of its newest evidence, and its best scored explanation."""

    __tablename__ = "features"

    dictionary_id: Mapped[int] = mapped_column(ForeignKey("dictionaries.id"), primary_key=True)
    feature: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    evidence_set_id: Mapped[str] = mapped_column(ForeignKey("evidence_sets.id"))
    state: Mapped[str] = mapped_column(String(8))  # active, rare or dead
    density: Mapped[float] = mapped_column(Float)
    tokens_active: Mapped[int] = mapped_column(BigInteger)
    max_activation: Mapped[float] = mapped_column(Float)
    mean_active: Mapped[float] = mapped_column(Float)
    explanation_id: Mapped[int | None] = mapped_column(BigInteger)
    label: Mapped[str | None] = mapped_column(Text)
    score: Mapped[float | None] = mapped_column(Float)
    lift: Mapped[float | None] = mapped_column(Float)
    q_value: Mapped[float | None] = mapped_column(Float)

    __table_args__ = (
        Index("ix_features_score", "dictionary_id", "score", "feature"),
        Index("ix_features_lift", "dictionary_id", "lift", "feature"),
        Index("ix_features_density", "dictionary_id", "density", "feature"),
        Index("ix_features_label", "dictionary_id", "label", "feature"),
    )


class Explanation(Base):
    """A label with its provenance, or the reason why it could not be had. One a (evidence, feature, explainer, settings)."""

    __tablename__ = "explanations"

    id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
    dictionary_id: Mapped[int] = mapped_column(ForeignKey("dictionaries.id"))
    feature: Mapped[int] = mapped_column(Integer)
    evidence_set_id: Mapped[str] = mapped_column(ForeignKey("evidence_sets.id"))
    explainer: Mapped[str] = mapped_column(String(64))
    settings_digest: Mapped[str] = mapped_column(String(64))
    text: Mapped[str | None] = mapped_column(Text)
    failure: Mapped[str | None] = mapped_column(Text)
    rule: Mapped[dict[str, Any] | None]
    provenance: Mapped[dict[str, Any]]
    job_id: Mapped[str | None] = mapped_column(String(36))
    created_at: Mapped[datetime]

    __table_args__ = (
        UniqueConstraint("evidence_set_id", "feature", "explainer", "settings_digest"),
        Index("ix_explanations_feature", "dictionary_id", "feature", "id"),
    )


class Score(Base):
    """One figure for one explanation, its interval, its counts and its null. `value` NULL goes with a `reason`."""

    __tablename__ = "scores"

    id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
    explanation_id: Mapped[int] = mapped_column(ForeignKey("explanations.id", ondelete="CASCADE"))
    dictionary_id: Mapped[int] = mapped_column(ForeignKey("dictionaries.id"))
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
    p_value: Mapped[float | None] = mapped_column(Float)
    q_value: Mapped[float | None] = mapped_column(Float)
    null_reason: Mapped[str | None] = mapped_column(Text)
    details: Mapped[dict[str, Any]]
    job_id: Mapped[str | None] = mapped_column(String(36))
    created_at: Mapped[datetime]

    __table_args__ = (
        UniqueConstraint("explanation_id", "scorer", "settings_digest"),
        Index("ix_scores_feature", "dictionary_id", "feature"),
        Index("ix_scores_dictionary_scorer", "dictionary_id", "scorer", "value"),
    )


class ScoreItems(Base):
    """The items of one score: every question and answer, packed (see `interp.codec`)."""

    __tablename__ = "score_items"

    score_id: Mapped[int] = mapped_column(ForeignKey("scores.id", ondelete="CASCADE"), primary_key=True, autoincrement=False)
    blob: Mapped[bytes]
