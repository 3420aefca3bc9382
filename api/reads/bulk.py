"""Read whole features in bulk: pages with parts, and streams of all that match."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, Field, ValidationInfo, field_validator

from api.reads import dictionaries
from api.reads.cursors import WITHOUT_NUL
from api.reads.dictionaries import FeatureFilters
from api.schemas.dictionaries import FeaturePage
from interp.domain.errors import InputError
from interp.domain.record import RunSource
from interp.exchange import read
from interp.exchange.formats import FORMATS, format_of
from interp.exchange.formats.base import ExportFormat, FormatOptions
from interp.exchange.rows import JsonRows
from interp.store.db.engine import Engine, Session
from interp.store.listings import queries, records
from interp.store.listings.queries import FeatureQuery
from interp.store.listings.records import Part, RecordQuery
from interp.store.results import runs

StreamFormat = Literal["jsonl", "arrow", "parquet", "csv"]
STREAMS = {FORMATS[name].facts.media_type: FORMATS[name] for name in ("jsonl", "arrow", "parquet", "csv")}
EXPAND = "Parts of each feature, separated by commas: `statistics`, `contexts`, `explanations`, `scores`. A stream has all without it."
FORMAT = "Answer with a stream of all features that match, not a page; or say so with `Accept`."
PART = "|".join(Part)
# Their parts are read and sent in portions: a page of so many takes 20 MB.
MOST_WITH_PARTS = 5_000


class Expansion(BaseModel):
    """The parts of each feature that a page or stream has."""

    expand: str | None = Field(
        default=None, max_length=100, pattern=rf"^({PART})(,({PART}))*$", description=EXPAND, examples=["contexts,explanations,scores"]
    )

    @field_validator("expand", mode="before")
    @classmethod
    def _without_blanks(cls, value: object) -> object:
        return value.replace(" ", "") if isinstance(value, str) else value


# The last base's fields are validated first: the bound of `limit` depends on `expand`.
class BulkFilters(FeatureFilters, Expansion):
    """Filters and order of features, their parts, and the form of the answer."""

    format: StreamFormat | None = Field(default=None, description=FORMAT)
    limit: int = Field(default=50, ge=1, le=MOST_WITH_PARTS, description=f"Rows per page; more than {queries.MAX_LIMIT} with `expand` alone.")

    explainer: str | None = Field(
        default=None, min_length=1, max_length=64, pattern=WITHOUT_NUL, description="With the part `explanations`: only those of this explainer."
    )

    @field_validator("limit")
    @classmethod
    def _only_with_parts(cls, value: int, info: ValidationInfo) -> int:
        if value > queries.MAX_LIMIT and info.data.get("expand", "") is None:
            raise ValueError(f"at most {queries.MAX_LIMIT} without expand")
        return value

    @property
    def parts(self) -> frozenset[Part]:
        return frozenset(map(Part, self.expand.split(","))) if self.expand else frozenset()

    def stream(self, accept: str) -> ExportFormat | None:
        """Return the format of a stream, or None for a page; raises InputError."""
        wanted = format_of(self.format) if self.format else next((made for media, made in STREAMS.items() if media in accept), None)
        paged = sorted({"cursor", "limit"} & self.model_fields_set)
        if wanted is not None and paged:
            raise InputError(
                f"A stream has no pages: it takes no {' and no '.join(paged)}.", cure="Leave it out, or ask for pages without format and Accept."
            )
        return wanted


@dataclass(frozen=True, slots=True)
class FeatureStream:
    """A stream of features, read as it is iterated."""

    format: ExportFormat
    source: RunSource
    query: RecordQuery
    engine: Engine

    def __iter__(self) -> Iterator[bytes]:
        portions = read.portions(self.engine, self.query)
        return (piece.content for piece in self.format.write(self.source, portions, self.query.parts, FormatOptions()))


def stream(session: Session, engine: Engine, dictionary: str, filters: BulkFilters, form: ExportFormat) -> FeatureStream:
    """Return the stream of all features that match; raises NotFoundError and InputError."""
    row = queries.dictionary(session, dictionary)
    run = runs.shown(session, row, filters.run)
    dictionaries.check_density(run, row, filters)
    parts = filters.parts or form.facts.parts
    return FeatureStream(
        form, records.source(session, row, run), RecordQuery(filters.query(session, run.id, None), parts, filters.explainer, not run.tokens), engine
    )


def page(session: Session, engine: Engine, dictionary: str, filters: BulkFilters) -> Iterator[bytes]:
    """Return one page as JSON; its parts are read while it is iterated.

    Raises NotFoundError, CursorInvalidError, InputError.
    """
    found = dictionaries.features(session, dictionary, filters)
    if not found.items:
        return iter((found.model_dump_json().encode(),))
    row = queries.dictionary(session, dictionary)
    run = runs.named(session, row, found.items[0].run)
    query = RecordQuery(FeatureQuery(run.id), filters.parts, filters.explainer, not run.tokens)
    return _pieces(found, JsonRows(records.source(session, row, run), filters.parts), query, engine)


def _pieces(found: FeaturePage, rows: JsonRows, query: RecordQuery, engine: Engine) -> Iterator[bytes]:
    """Yield the JSON of a page, a portion of its features at a time."""
    rest = found.model_copy(update={"items": []}).model_dump_json(exclude={"items"})
    yield b'{"items":['
    for start in range(0, len(found.items), read.PORTION):
        items = found.items[start : start + read.PORTION]
        more: dict[int, list[bytes]] = {}
        for portion in read.portions(engine, query, sorted(item.index for item in items)):
            more |= {record.index: parts for record, parts in zip(portion, rows.parts(portion), strict=True)}
        whole = [b"%b}" % b",".join([item.model_dump_json()[:-1].encode(), *more.get(item.index, ())]) for item in items]
        yield b"," * bool(start) + b",".join(whole)
    yield b"]," + rest[1:].encode()
