"""Define the tables of listed features, lists of features, and reviews."""

from datetime import datetime

from sqlalchemy import BigInteger, Float, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from interp.store.db.tables.base import Base, RowId, Sortable

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
