"""Dictionaries, and the listing of one dictionary's features."""

from dataclasses import replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from api.http import cursors
from api.http.count_cache import StateCounts
from api.http.cursors import WITHOUT_NUL, FeatureIndex, Figure, RowId, Words
from api.presenters import resources, rows
from api.schemas import DictionaryAnswer, DictionaryPage, FeaturePage
from interp.store.db.engine import Session
from interp.store.db.tables import DictionaryRow, FeatureRow
from interp.store.listings import feature_detail, queries
from interp.store.listings.queries import FeatureQuery, FeatureSort, Position
from interp.store.results import runs

RUN = "The run by its number, address or start of its digest; the dictionary's current one when not given."
DICTIONARY_PLACE = TypeAdapter(tuple[RowId])
FEATURE_PLACES: dict[FeatureSort, TypeAdapter[Any]] = {
    FeatureSort.INDEX: TypeAdapter(tuple[RowId, FeatureIndex, FeatureIndex]),
    FeatureSort.SCORE: TypeAdapter(tuple[RowId, Figure | None, FeatureIndex]),
    FeatureSort.LIFT: TypeAdapter(tuple[RowId, Figure | None, FeatureIndex]),
    FeatureSort.SHRUNKEN_SCORE: TypeAdapter(tuple[RowId, Figure | None, FeatureIndex]),
    FeatureSort.DENSITY: TypeAdapter(tuple[RowId, Figure, FeatureIndex]),
    FeatureSort.LABEL: TypeAdapter(tuple[RowId, Words | None, FeatureIndex]),
}


class FeatureFilters(BaseModel):
    """Which features, in which order. Bounds are inclusive; a feature without a value is within no bound."""

    model_config = ConfigDict(extra="forbid")

    sort: FeatureSort = Field(default=FeatureSort.INDEX, description="Features without a value come last in both directions.")
    order: Literal["asc", "desc"] = "asc"
    min_score: float | None = Field(default=None, allow_inf_nan=False)
    max_score: float | None = Field(default=None, allow_inf_nan=False)
    min_lift: float | None = Field(default=None, allow_inf_nan=False, description="Lift over null: own score minus that of others' explanations.")
    max_lift: float | None = Field(default=None, allow_inf_nan=False)
    min_density: float | None = Field(default=None, ge=0, le=1, description="Share of tokens at which the feature fires.")
    max_density: float | None = Field(default=None, ge=0, le=1)
    max_q_value: float | None = Field(default=None, ge=0, le=1, description="Largest q value (Benjamini-Hochberg) of the lift.")
    state: Literal["active", "rare", "dead"] | None = None
    q: str | None = Field(default=None, min_length=1, max_length=200, pattern=WITHOUT_NUL, description="Part of the label, in any case.")
    run: str | None = Field(default=None, min_length=1, max_length=400, pattern=WITHOUT_NUL, description=RUN)
    cursor: str | None = Field(default=None, max_length=2000, description="`next_cursor` of the page before, with the same filters and order.")
    limit: int = Field(default=50, ge=1, le=queries.MAX_LIMIT, description="Rows a page.")

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
        wanted = self.model_dump(exclude={"order", "cursor", "run", "q", "max_q_value"})
        return FeatureQuery(run_id, descending=self.order == "desc", after=after, text=self.q, max_q=self.max_q_value, **wanted)


def dictionaries(session: Session, cursor: str | None, limit: int) -> DictionaryPage:
    """One page of dictionaries, the first one first. Raises CursorInvalid."""
    listing = {"of": "dictionaries"}
    after = cursors.decode(listing, cursor, DICTIONARY_PLACE)[0] if cursor else None
    page = queries.dictionaries(session, after, limit)
    names = feature_detail.subject_names(session, {row.subject_id for row in page.rows})
    current = {run.dictionary_id: run for run in runs.all_current(session, {row.id for row in page.rows})}
    items, unreadable = rows.shown(
        page.rows, lambda some: [resources.dictionary(row, names[row.subject_id], current.get(row.id)) for row in some], lambda row: row.id
    )
    return DictionaryPage(items=items, unreadable=unreadable, next_cursor=cursors.encode(listing, None if page.next is None else (page.next,)))


def dictionary(session: Session, counts: StateCounts, reference: str) -> DictionaryAnswer:
    """One dictionary, by id or by name. Raises NotFound."""
    return counted(session, counts, queries.dictionary(session, reference))


def counted(session: Session, counts: StateCounts, row: DictionaryRow) -> DictionaryAnswer:
    """A dictionary with the features of its current run by state."""
    current = runs.current(session, row.id)
    subject = feature_detail.subject_names(session, {row.subject_id})[row.subject_id]
    return resources.dictionary(row, subject, current, {} if current is None else counts.of(session, current.id))


def _whole_page(session: Session, query: FeatureQuery) -> tuple[list[FeatureRow], Position | None]:
    """Return `limit` rows, fewer on the last page alone, and where the next page begins.

    The store examines a bounded number of rows per query with a text, and so may return fewer.
    """
    page = queries.features(session, query)
    found = list(page.rows)
    while page.next is not None and len(found) < query.limit:
        page = queries.features(session, replace(query, after=page.next, limit=query.limit - len(found)))
        found += page.rows
    return found, page.next


def features(session: Session, dictionary: str, filters: FeatureFilters) -> FeaturePage:
    """One page of the features of a run. Raises NotFound and CursorInvalid."""
    row = queries.dictionary(session, dictionary)
    begun, after = filters.place(row.id)
    run = runs.shown(session, row, filters.run, begun)
    found, last = _whole_page(session, filters.query(run.id, after))
    place = None if last is None else (run.id, last.value, last.feature)
    best = queries.explanations_by_id(session, [feature.explanation_id for feature in found if feature.explanation_id is not None])
    items, unreadable = rows.shown(
        found,
        lambda some: [resources.feature_summary(feature, run, row, best.get(feature.explanation_id or 0)) for feature in some],
        lambda feature: feature.feature,
    )
    return FeaturePage(items=items, unreadable=unreadable, next_cursor=cursors.encode(filters.listing(row.id), place))
