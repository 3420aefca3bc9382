"""Dictionaries, and the listing of one dictionary's features."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from api import cursors, examples, views
from api.cursors import FeatureIndex, Figure, RowId, Words
from api.dependencies import WITHOUT_NUL, Counts, CursorText, Limit, Reading
from api.openapi import answers
from api.schemas import DictionaryAnswer, DictionaryPage, FeaturePage
from interp.store import book, entry, runs
from interp.store.book import FeatureQuery, FeatureSort, Position

router = APIRouter(prefix="/v1/dictionaries", tags=["dictionaries"])

DictionaryReference = Annotated[str, Path(max_length=255, pattern=WITHOUT_NUL, description="Id or name.", examples=["pystdlib@1-res"])]
RUN = "The run by its number, address or start of its digest; the dictionary's current one when not given."
Run = Annotated[str | None, Query(min_length=1, max_length=400, pattern=WITHOUT_NUL, description=RUN)]
DICTIONARY_PLACE = TypeAdapter(tuple[RowId])
FEATURE_PLACES: dict[FeatureSort, TypeAdapter[Any]] = {
    FeatureSort.FEATURE: TypeAdapter(tuple[RowId, FeatureIndex, FeatureIndex]),
    FeatureSort.SCORE: TypeAdapter(tuple[RowId, Figure | None, FeatureIndex]),
    FeatureSort.LIFT: TypeAdapter(tuple[RowId, Figure | None, FeatureIndex]),
    FeatureSort.SHRUNKEN: TypeAdapter(tuple[RowId, Figure | None, FeatureIndex]),
    FeatureSort.DENSITY: TypeAdapter(tuple[RowId, Figure, FeatureIndex]),
    FeatureSort.LABEL: TypeAdapter(tuple[RowId, Words | None, FeatureIndex]),
}


@router.get("", responses=answers(examples.DICTIONARY_PAGE, 422))
def list_dictionaries(session: Reading, cursor: CursorText = None, limit: Limit = 50) -> DictionaryPage:
    """Every dictionary that a job has opened, the first one first."""
    listing = {"of": "dictionaries"}
    after = cursors.decode(listing, cursor, DICTIONARY_PLACE)[0] if cursor else None
    page = book.dictionaries(session, after, limit)
    names = entry.subject_names(session, {row.subject_id for row in page.rows})
    current = {run.dictionary_id: run for run in runs.all_current(session, {row.id for row in page.rows})}
    items = [views.dictionary(row, names[row.subject_id], current.get(row.id)) for row in page.rows]
    return DictionaryPage(items=items, next_cursor=cursors.encode(listing, None if page.next is None else (page.next,)))


@router.get("/{dictionary}", responses=answers(examples.DICTIONARY, 404, 422))
def get_dictionary(session: Reading, counts: Counts, dictionary: DictionaryReference) -> DictionaryAnswer:
    """One dictionary, by id or by name, with the features of its current run by state; of a very large one the counts may be some seconds old."""
    row = book.dictionary(session, dictionary)
    names = entry.subject_names(session, {row.subject_id})
    current = runs.current(session, row.id)
    return views.dictionary(row, names[row.subject_id], current, {} if current is None else counts.of(session, current.id))


class FeatureFilters(BaseModel):
    """Which features, in which order. Bounds are inclusive; a feature without a value is within no bound."""

    model_config = ConfigDict(extra="forbid")

    sort: FeatureSort = Field(default=FeatureSort.FEATURE, description="Features without a value come last in both directions.")
    order: Literal["asc", "desc"] = "asc"
    min_score: float | None = Field(default=None, allow_inf_nan=False)
    max_score: float | None = Field(default=None, allow_inf_nan=False)
    min_lift: float | None = Field(default=None, allow_inf_nan=False, description="Lift over null: own score minus that of others' explanations.")
    max_lift: float | None = Field(default=None, allow_inf_nan=False)
    min_density: float | None = Field(default=None, ge=0, le=1, description="Share of tokens at which the feature fires.")
    max_density: float | None = Field(default=None, ge=0, le=1)
    max_q: float | None = Field(default=None, ge=0, le=1, description="Largest q value (Benjamini-Hochberg) of the lift.")
    state: Literal["active", "rare", "dead"] | None = None
    text: str | None = Field(default=None, min_length=1, max_length=200, pattern=WITHOUT_NUL, description="Part of the label, in any case.")
    run: str | None = Field(default=None, min_length=1, max_length=400, pattern=WITHOUT_NUL, description=RUN)
    cursor: str | None = Field(default=None, max_length=2000, description="`next_cursor` of the page before, with the same filters and order.")
    limit: int = Field(default=50, ge=1, le=book.MAX_LIMIT, description="Rows a page.")

    def listing(self, dictionary_id: int) -> dict[str, Any]:
        """What a cursor is bound to."""
        return {"of": "features", "dictionary": dictionary_id} | self.model_dump(mode="json", exclude={"cursor", "limit"})

    def place(self, dictionary_id: int) -> tuple[int | None, Position | None]:
        """The run and the place that the page before ended in."""
        if not self.cursor:
            return None, None
        run_id, *place = cursors.decode(self.listing(dictionary_id), self.cursor, FEATURE_PLACES[self.sort])
        return run_id, Position(*place)

    def query(self, run_id: int, after: Position | None) -> FeatureQuery:
        wanted = self.model_dump(exclude={"order", "cursor", "run"})
        return FeatureQuery(run_id, descending=self.order == "desc", after=after, **wanted)


@router.get("/{dictionary}/features", responses=answers(examples.FEATURE_PAGE, 404, 422))
def list_features(session: Reading, dictionary: DictionaryReference, filters: Annotated[FeatureFilters, Query()]) -> FeaturePage:
    """The features of one run of a dictionary, filtered and sorted by what their best explanation reached. Without `run` of its current run.

    With `text` a page may hold fewer rows than `limit`, even none, and yet not be the last one: go on as long as there is a `next_cursor`.
    """
    row = book.dictionary(session, dictionary)
    begun, after = filters.place(row.id)
    run = runs.shown(session, row, filters.run, begun)
    page = book.features(session, filters.query(run.id, after))
    place = None if page.next is None else (run.id, page.next.value, page.next.feature)
    best = book.explanations_by_id(session, [feature.explanation_id for feature in page.rows if feature.explanation_id is not None])
    items = [views.feature_summary(feature, run, row, best.get(feature.explanation_id or 0)) for feature in page.rows]
    return FeaturePage(items=items, next_cursor=cursors.encode(filters.listing(row.id), place))
