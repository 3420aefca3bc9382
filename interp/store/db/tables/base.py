"""Define the types of columns, and the base of all tables."""

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, DateTime, Integer, LargeBinary, Text
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

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
