"""Define the tables of calls of language models, budgets and spending."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Float, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from interp.store.db.tables.base import Base, RowId


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
