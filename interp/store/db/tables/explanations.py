"""Define the tables of explanations, their scores, and leagues."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Float, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from interp.store.db.tables.base import Base, RowId, Sortable


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
