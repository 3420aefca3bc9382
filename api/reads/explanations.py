"""Explanations of any dictionary, with their scores: what exports read."""

from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from api.http import cursors
from api.http.cursors import WITHOUT_NUL
from api.presenters import resources, rows
from api.schemas import ExplanationPage
from interp.store.db.engine import Session
from interp.store.db.tables import ExplanationRow
from interp.store.listings import queries
from interp.store.listings.queries import ExplanationQuery
from interp.store.results import runs

RUN = "The run by its address or start of its digest; with a dictionary by its number, too. Current runs when not given."
PLACE = TypeAdapter(tuple[cursors.RowId, cursors.FeatureIndex, cursors.RowId])


class ExplanationFilters(BaseModel):
    """Which explanations, in the order of dictionary and feature."""

    model_config = ConfigDict(extra="forbid")

    run: str | None = Field(default=None, min_length=1, max_length=400, pattern=WITHOUT_NUL, description=RUN)
    dictionary: str | None = Field(default=None, max_length=255, pattern=WITHOUT_NUL, description="Id or name.", examples=["pystdlib@1-res"])
    index: int | None = Field(default=None, ge=0, lt=2**31)
    explainer: str | None = Field(default=None, max_length=64, pattern=WITHOUT_NUL, examples=["pattern"])
    q: str | None = Field(default=None, min_length=1, max_length=200, pattern=WITHOUT_NUL, description="Part of the explanation, in any case.")
    cursor: str | None = Field(default=None, max_length=2000, description="`next_cursor` of the page before, with the same filters.")
    limit: int = Field(default=50, ge=1, le=queries.MAX_LIMIT, description="Rows a page.")

    def listing(self) -> dict[str, Any]:
        """What a cursor is bound to."""
        return {"of": "explanations"} | self.model_dump(mode="json", exclude={"cursor", "limit"})

    def query(self, session: Session) -> ExplanationQuery:
        place = cursors.decode(self.listing(), self.cursor, PLACE) if self.cursor else None
        return ExplanationQuery(
            runs=self._runs(session, place),
            feature=self.index,
            explainer=self.explainer,
            text=self.q,
            after=place,
            limit=self.limit,
        )

    def _runs(self, session: Session, place: tuple[int, int, int] | None) -> tuple[int, ...]:
        """The run that the page before ended in, and those that come after it."""
        begun = None if place is None else place[0]
        if self.dictionary is not None:
            return (runs.shown(session, queries.dictionary(session, self.dictionary), self.run, begun).id,)
        return runs.current_from(session, begun) if self.run is None else (runs.addressed(session, self.run).id,)


def _whole_page(session: Session, query: ExplanationQuery) -> tuple[list[ExplanationRow], tuple[int, int, int] | None]:
    """Return `limit` rows, fewer on the last page alone, and where the next page begins.

    The store examines a bounded number of rows per query with a text, and so may return fewer.
    """
    page = queries.explanations(session, query)
    found = list(page.rows)
    while page.next is not None and len(found) < query.limit:
        left = query.runs[query.runs.index(page.next[0]) :]
        page = queries.explanations(session, replace(query, runs=left, after=page.next, limit=query.limit - len(found)))
        found += page.rows
    return found, page.next


def explanations(session: Session, filters: ExplanationFilters) -> ExplanationPage:
    """One page of explanations with their scores. Raises NotFound and CursorInvalid."""
    found, last = _whole_page(session, filters.query(session))
    ids = [row.id for row in found]
    scores, listed = queries.scores_of(session, ids), queries.listed_of(session, ids)
    of = runs.of_ids(session, {row.run_id for row in found})
    items, unreadable = rows.shown(
        found,
        lambda some: [resources.explanation(row, *of[row.run_id], listed.get(row.id), scores.get(row.id, ())) for row in some],
        lambda row: row.id,
    )
    return ExplanationPage(items=items, unreadable=unreadable, next_cursor=cursors.encode(filters.listing(), last))
