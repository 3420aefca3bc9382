"""Read dictionaries, and the listing of one dictionary's features."""

from dataclasses import replace
from typing import Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from api.reads import cursors, pages
from api.reads.cursors import WITHOUT_NUL, Count, FeatureIndex, Figure, RowId, Words
from api.reads.names import corpus_name, exact, run_name
from api.schemas.dictionaries import DictionaryAnswer, DictionaryPage, FeaturePage, ListedFeature
from interp.domain.errors import InputError
from interp.domain.feature_bounds import FeatureBounds
from interp.store import feature_lists
from interp.store.db.engine import Session
from interp.store.db.tables import DictionaryRow, ExplanationRow, FeatureRow, RunRow
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
    FeatureSort.P_VALUE: TypeAdapter(tuple[RowId, Figure | None, FeatureIndex]),
    FeatureSort.Q_VALUE: TypeAdapter(tuple[RowId, Figure | None, FeatureIndex]),
    FeatureSort.DENSITY: TypeAdapter(tuple[RowId, Figure, FeatureIndex]),
    FeatureSort.TOKENS_ACTIVE: TypeAdapter(tuple[RowId, Count, FeatureIndex]),
    FeatureSort.MAX_ACTIVATION: TypeAdapter(tuple[RowId, Figure, FeatureIndex]),
    FeatureSort.MEAN_ACTIVE: TypeAdapter(tuple[RowId, Figure, FeatureIndex]),
    FeatureSort.FIRING_LEVEL: TypeAdapter(tuple[RowId, Figure, FeatureIndex]),
    FeatureSort.LABEL: TypeAdapter(tuple[RowId, Words | None, FeatureIndex]),
    FeatureSort.EXPLAINER: TypeAdapter(tuple[RowId, Words | None, FeatureIndex]),
}

# Filters that the query of the store names differently, or has not.
UNLIKE_QUERY = {"order", "cursor", "run", "q", "max_p_value", "max_q_value", "list", "label_explainer"}


class FeatureFilters(FeatureBounds):
    """Filters and order of features; bounds are inclusive and exclude features without a value."""

    model_config = ConfigDict(extra="forbid")

    label_explainer: str | None = Field(default=None, min_length=1, max_length=64, pattern=WITHOUT_NUL, description="Who wrote the listed label.")
    sort: FeatureSort = Field(default=FeatureSort.INDEX, description="Features without a value come last in both directions.")
    order: Literal["asc", "desc"] = "asc"
    run: str | None = Field(default=None, min_length=1, max_length=400, pattern=WITHOUT_NUL, description=RUN)
    cursor: str | None = Field(default=None, max_length=2000, description="`next_cursor` of the page before, with the same filters and order.")
    limit: int = Field(default=50, ge=1, le=queries.MAX_LIMIT, description="Rows per page.")

    def listing(self, dictionary_id: int) -> dict[str, Any]:
        """Return the filters and order that a cursor is bound to."""
        return {"of": "features", "dictionary": dictionary_id} | self.model_dump(
            mode="json", include=set(FeatureFilters.model_fields) - {"cursor", "limit"}
        )

    def place(self, dictionary_id: int) -> tuple[int | None, Position | None]:
        """Return the run and the place in which the previous page ended."""
        if not self.cursor:
            return None, None
        run_id, *place = cursors.decode(self.listing(dictionary_id), self.cursor, FEATURE_PLACES[self.sort])
        return run_id, Position(*place)

    def query(self, session: Session, run_id: int, after: Position | None) -> FeatureQuery:
        """Return the query of a run's features; raises NotFoundError for an unknown list."""
        wanted = self.model_dump(include=set(FeatureFilters.model_fields) - UNLIKE_QUERY)
        of_list = feature_lists.id_of(session, self.list)
        renamed: dict[str, Any] = {
            "text": self.q,
            "max_p": self.max_p_value,
            "max_q": self.max_q_value,
            "list_id": of_list,
            "explainer": self.label_explainer,
        }
        return FeatureQuery(run_id, descending=self.order == "desc", after=after, **renamed, **wanted)


def dictionaries(session: Session, cursor: str | None, limit: int) -> DictionaryPage:
    """Return one page of dictionaries, oldest first; raises CursorInvalidError."""
    listing = {"of": "dictionaries"}
    after = cursors.decode(listing, cursor, DICTIONARY_PLACE)[0] if cursor else None
    page = queries.dictionaries(session, after, limit)
    names = feature_detail.subject_names(session, {row.subject_id for row in page.rows})
    current = {run.dictionary_id: run for run in runs.all_current(session, {row.id for row in page.rows})}
    return pages.build(
        DictionaryPage,
        page.rows,
        lambda rows: [_dictionary(row, names[row.subject_id], current.get(row.id)) for row in rows],
        lambda row: row.id,
        listing,
        None if page.next is None else (page.next,),
    )


def dictionary(session: Session, reference: str) -> DictionaryAnswer:
    """Return one dictionary, by id or by name; raises NotFoundError."""
    return counted(session, queries.dictionary(session, reference))


def named(session: Session, reference: str) -> DictionaryAnswer:
    """Return one dictionary, without its counts by state; raises NotFoundError.

    To count a million features takes 200 ms.
    """
    row = queries.dictionary(session, reference)
    return _dictionary(row, feature_detail.subject_names(session, {row.subject_id})[row.subject_id], runs.current(session, row.id))


def counted(session: Session, row: DictionaryRow) -> DictionaryAnswer:
    """Return a dictionary with its current run's feature counts by state."""
    current = runs.current(session, row.id)
    subject = feature_detail.subject_names(session, {row.subject_id})[row.subject_id]
    return _dictionary(row, subject, current, {} if current is None else feature_detail.states(session, current.id))


def _dictionary(row: DictionaryRow, subject: str, current: RunRow | None, states: dict[str, int] | None = None) -> DictionaryAnswer:
    return DictionaryAnswer.of(
        row,
        subject=subject,
        subject_digest=row.subject_id,
        current_run=None if current is None else run_name(current, row),
        pinned=current is not None and current.pinned_at is not None,
        states=states,
    )


def features(session: Session, dictionary: str, filters: FeatureFilters) -> FeaturePage:
    """Return one page of the features of a run; raises NotFoundError, CursorInvalidError, InputError."""
    row = queries.dictionary(session, dictionary)
    begun, after = filters.place(row.id)
    run = runs.shown(session, row, filters.run, begun)
    check_density(run, row, filters)
    query = filters.query(session, run.id, after)
    found, last = pages.filled(lambda place, left: queries.features(session, replace(query, after=place, limit=left)), query.limit, after)
    best = queries.explanations_by_id(session, [feature.explanation_id for feature in found if feature.explanation_id is not None])
    return pages.build(
        FeaturePage,
        found,
        lambda rows: [ListedFeature(**summary(feature, run, row, best.get(feature.explanation_id or 0))) for feature in rows],
        lambda feature: feature.feature,
        filters.listing(row.id),
        None if last is None else (run.id, last.value, last.feature),
    )


def check_density(run: RunRow, dictionary: DictionaryRow, filters: FeatureFilters) -> None:
    """Raise InputError for bounds of figures that an imported run does not know."""
    if not run.tokens and (unknown := filters.of_whole_corpora()):
        raise InputError(
            f"The density of the features of {run_name(run, dictionary)} is not known, nor are their counts and means.",
            why="Its evidence was imported from records, which are not a whole corpus.",
            cure=f"Leave out {', '.join(unknown)}.",
        )


def summary(row: FeatureRow, run: RunRow, dictionary: DictionaryRow, best: ExplanationRow | None) -> dict[str, Any]:
    """Return the fields of a feature's summary; `best` is the row's explanation."""
    own = {name: getattr(row, name) for name in ListedFeature.model_fields if hasattr(row, name)}
    if not run.tokens:
        # An imported run: its records are not a whole corpus.
        own |= dict.fromkeys(("density", "tokens_active", "mean_active")) | {"max_activation": row.max_activation or None}
    return own | {
        "index": row.feature,
        "name": dictionary.feature_name(row.feature),
        "run": run_name(run, dictionary),
        "corpus": corpus_name(run),
        "explainer": None if best is None else best.explainer,
        "job": None if best is None else best.job_id,
        "firing_level": exact(row.firing_level),
    }
