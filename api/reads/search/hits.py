"""Search the labels of listed features by words, by meaning, or by both."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter

from api.reads import cursors, pages
from api.reads.cursors import WITHOUT_NUL
from api.reads.dictionaries import RUN, summary
from api.schemas.search import SearchHit, SearchMode, SearchPage
from interp.domain.errors import InputError
from interp.domain.feature_bounds import FeatureBounds
from interp.search import embedder
from interp.search.codes import Vectors
from interp.search.embedder import EmbedderMissingError
from interp.search.fusion import Fused, fused
from interp.search.words import parse, spans
from interp.store import feature_lists
from interp.store.db.engine import DBAPIError, Engine, Session, snapshot
from interp.store.listings import queries, search
from interp.store.listings.label_codes import LabelCodes
from interp.store.listings.search import Key, Ranking, SearchQuery
from interp.store.results import runs

REMEMBERED = 1_000
# Any text: to embed one opens the embedder.
PREPARING = "search"
NOTHING = Ranking()
Offset = Annotated[int, Field(ge=0, le=2 * search.DEPTH)]
PLACE = TypeAdapter(tuple[Offset])
WRITTEN = """Words that the label has, all of them: `import*` any word that begins so, `"right after"` a phrase, `` `␣the` `` a quoted token."""


class SearchFilters(FeatureBounds):
    """A query, the features to search, and filters of their figures; bounds are inclusive."""

    model_config = ConfigDict(extra="forbid")

    q: str = Field(min_length=1, max_length=400, pattern=WITHOUT_NUL, description=WRITTEN, examples=["exception handling"])
    mode: SearchMode = Field(default=SearchMode.HYBRID, description="By words, by meaning, or by both ranks together.")
    dictionary: str | None = Field(default=None, min_length=1, max_length=255, pattern=WITHOUT_NUL, description="One, by id or name; else all.")
    run: str | None = Field(default=None, min_length=1, max_length=400, pattern=WITHOUT_NUL, description=RUN)
    scorer: str | None = Field(
        default=None,
        min_length=1,
        max_length=64,
        pattern=WITHOUT_NUL,
        description="Whose score, lift, p and q value the bounds are of; else the listed scorer's.",
    )
    explainer: str | None = Field(default=None, min_length=1, max_length=64, pattern=WITHOUT_NUL, description="Who wrote the label.")
    cursor: str | None = Field(default=None, max_length=2000, description="`next_cursor` of the page before, with the same query and filters.")
    limit: int = Field(default=20, ge=1, le=queries.MAX_LIMIT, description="Hits per page.")

    def listing(self) -> dict[str, Any]:
        """Return the query and filters that a cursor is bound to."""
        return {"of": "search"} | self.model_dump(mode="json", include=set(SearchFilters.model_fields) - {"cursor", "limit"})

    def query(self, run_ids: tuple[int, ...], list_id: int | None) -> SearchQuery:
        renamed = {"q", "max_p_value", "max_q_value", "list"}
        own = self.model_dump(include=(set(FeatureBounds.model_fields) | {"scorer", "explainer"}) - renamed)
        return SearchQuery(runs=run_ids, list_id=list_id, max_q=self.max_q_value, max_p=self.max_p_value, **own)


def labels(session: Session, filters: SearchFilters, codes: LabelCodes) -> SearchPage:
    """Return one page of hits; raises NotFoundError, CursorInvalidError, and EmbedderMissingError for `meaning`."""
    first = cursors.decode(filters.listing(), filters.cursor, PLACE)[0] if filters.cursor else 0
    # Before the first statement: the embedder may have to be opened, and no connection should wait for that.
    vector, without = _vector_for(filters)
    query = filters.query(_runs(session, filters), feature_lists.id_of(session, filters.list))
    are_few = search.are_few(session, query)
    words = NOTHING if filters.mode is SearchMode.MEANING else search.by_words(session, query, parse(filters.q), are_few)
    meaning = NOTHING if vector is None else search.by_meaning(session, query, vector, embedder.identity().name, codes, are_few)
    hits = fused(words.keys, meaning.keys)
    shown, last = hits[first : first + filters.limit], first + filters.limit
    page = pages.build(
        SearchPage,
        shown,
        lambda some: _answers(session, some, filters.q, meaning.cosines),
        lambda hit: f"{hit.key[0]}:{hit.key[1]}",
        filters.listing(),
        (last,) if last < len(hits) else None,
    )
    said = None if vector is None else embedder.identity().name
    is_complete = words.is_complete and meaning.is_complete
    return page.model_copy(update={"complete": is_complete, "embedder": said, "without_meaning": without})


def prepare(engine: Engine, codes: LabelCodes) -> None:
    """Open the embedder and read the codes, as the first search by meaning does."""
    # What keeps a search from it is told by the search.
    with suppress(EmbedderMissingError, DBAPIError):
        vector_of(PREPARING)
        with snapshot(engine) as session:
            codes.load(session, embedder.identity().name)


def _vector_for(filters: SearchFilters) -> tuple[Vectors | None, str | None]:
    """Return the query's vector, or why a hybrid search has none."""
    if filters.mode is SearchMode.TEXT:
        return None, None
    try:
        return vector_of(filters.q), None
    except EmbedderMissingError as error:
        if filters.mode is SearchMode.MEANING:
            raise
        return None, str(error)


@lru_cache(maxsize=REMEMBERED)
def vector_of(text: str) -> Vectors:
    """Return the vector of a query, of unit length."""
    found: Vectors = embedder.embed([text])[0]
    return found


def _runs(session: Session, filters: SearchFilters) -> tuple[int, ...]:
    if filters.dictionary is not None:
        return (runs.shown(session, queries.dictionary(session, filters.dictionary), filters.run).id,)
    if filters.run is not None:
        if "/" not in filters.run:
            raise InputError(f"{filters.run!r} is a run of one dictionary.", cure="Name the dictionary as well, or write dictionary/number.")
        return (runs.addressed(session, filters.run).id,)
    return tuple(run.id for run in runs.all_current(session))


def _answers(session: Session, hits: Sequence[Fused[Key]], q: str, cosines: Mapping[Key, float]) -> list[SearchHit]:
    keys = [hit.key for hit in hits]
    rows = search.rows_of(session, keys)
    best = queries.explanations_by_id(session, [row.explanation_id for row in rows.values() if row.explanation_id is not None])
    of = runs.of_ids(session, {run_id for run_id, _ in keys})
    terms = parse(q)
    answers = []
    for hit in hits:
        row, (run, dictionary) = rows[hit.key], of[hit.key[0]]
        cosine = cosines.get(hit.key)
        answers.append(
            SearchHit(
                **summary(row, run, dictionary, best.get(row.explanation_id or 0)),
                dictionary=dictionary.name,
                text_rank=hit.ranks[0],
                meaning_rank=hit.ranks[1],
                cosine=None if cosine is None else round(cosine, 4),
                fused=round(hit.score, 6),
                highlights=spans(terms, row.label or ""),
            )
        )
    return answers
