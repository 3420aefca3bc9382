"""Define the tables of subjects, dictionaries, runs and their evidence."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Float, ForeignKey, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from interp.domain.polarity import address
from interp.store.db.tables.base import Base, RowId


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
