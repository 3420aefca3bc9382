"""Define the tables of labels' words and vectors."""

from sqlalchemy import ForeignKey, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from interp.store.db.tables.base import Base, Lexemes, RowId


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
