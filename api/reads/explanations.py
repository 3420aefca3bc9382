"""Read explanations of all dictionaries, with their scores, for exports."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from api.reads import cursors, pages
from api.reads.cursors import WITHOUT_NUL
from api.reads.names import corpus_name, exact, run_name
from api.schemas.explanations import ControlAnswer, ExplanationAnswer, ExplanationPage, IntervalAnswer, NullAnswer, ScoreAnswer
from interp.domain.record import judge_of
from interp.domain.score import Item
from interp.store.db.engine import Session
from interp.store.db.tables import DictionaryRow, ExplanationRow, FeatureRow, RunRow, ScoreRow
from interp.store.listings import queries
from interp.store.listings.queries import ExplanationQuery
from interp.store.results import runs

RUN = "The run by its address or start of its digest; with a dictionary by its number, too. Current runs when not given."
PLACE = TypeAdapter(tuple[cursors.RowId, cursors.FeatureIndex, cursors.RowId])
LEVEL = 0.95  # of every stored interval that names no other

Place = tuple[int, int, int]


class ExplanationFilters(BaseModel):
    """Filters of explanations, which are in the order of dictionary and feature."""

    model_config = ConfigDict(extra="forbid")

    run: str | None = Field(default=None, min_length=1, max_length=400, pattern=WITHOUT_NUL, description=RUN)
    dictionary: str | None = Field(default=None, max_length=255, pattern=WITHOUT_NUL, description="Id or name.", examples=["pystdlib@1-res"])
    index: int | None = Field(default=None, ge=0, lt=2**31)
    explainer: str | None = Field(default=None, max_length=64, pattern=WITHOUT_NUL, examples=["pattern"])
    q: str | None = Field(default=None, min_length=1, max_length=200, pattern=WITHOUT_NUL, description="Part of the explanation, in any case.")
    cursor: str | None = Field(default=None, max_length=2000, description="`next_cursor` of the page before, with the same filters.")
    limit: int = Field(default=50, ge=1, le=queries.MAX_LIMIT, description="Rows per page.")

    def listing(self) -> dict[str, Any]:
        """Return the filters that a cursor is bound to."""
        return {"of": "explanations"} | self.model_dump(mode="json", exclude={"cursor", "limit"})

    def query(self, session: Session) -> ExplanationQuery:
        place = cursors.decode(self.listing(), self.cursor, PLACE) if self.cursor else None
        return ExplanationQuery(self._runs(session, place), self.index, self.explainer, self.q, place, self.limit)

    def _runs(self, session: Session, place: Place | None) -> tuple[int, ...]:
        """Return the run in which the previous page ended, and the runs after it."""
        begun = None if place is None else place[0]
        if self.dictionary is not None:
            return (runs.shown(session, queries.dictionary(session, self.dictionary), self.run, begun).id,)
        return runs.current_from(session, begun) if self.run is None else (runs.addressed(session, self.run).id,)


def explanations(session: Session, filters: ExplanationFilters) -> ExplanationPage:
    """Return one page of explanations with their scores; raises NotFoundError and CursorInvalidError."""
    query = filters.query(session)
    found, last = pages.filled(lambda place, left: queries.explanations(session, replace(query, after=place, limit=left)), query.limit, query.after)
    ids = [row.id for row in found]
    scores, listed = queries.scores_of(session, ids), queries.listed_of(session, ids)
    of = runs.of_ids(session, {row.run_id for row in found})
    return pages.build(
        ExplanationPage,
        found,
        lambda rows: [explanation(row, *of[row.run_id], listed.get(row.id), scores.get(row.id, ())) for row in rows],
        lambda row: row.id,
        filters.listing(),
        last,
    )


def explanation(
    row: ExplanationRow,
    run: RunRow,
    dictionary: DictionaryRow,
    listed: FeatureRow | None,
    scores: Sequence[ScoreRow],
    items: Mapping[int, Sequence[Item]] | None = None,
) -> ExplanationAnswer:
    """Return an explanation with its scores.

    `listed` is the feature's row in listings, if any. `items` maps a score's id to its items; without it scores have none.
    """
    return ExplanationAnswer.of(
        row,
        dictionary=dictionary.name,
        run=run_name(run, dictionary),
        corpus=corpus_name(run),
        index=row.feature,
        name=dictionary.feature_name(row.feature),
        best=listed is not None and listed.explanation_id == row.id,
        firing_level=None if listed is None else exact(listed.firing_level),
        scores=[score(found, None if items is None else items.get(found.id, ())) for found in scores],
        job=row.job_id,
    )


def score(row: ScoreRow, items: Sequence[Item] | None = None) -> ScoreAnswer:
    null = NullAnswer.of(
        row,
        value=row.null_value,
        lift_interval=_interval(row, row.lift_low, row.lift_high, row.lift_method),
        reason=row.null_reason,
        values=row.null_values or [],
    )
    controls = [ControlAnswer.model_validate(control) for control in row.controls or ()]
    return ScoreAnswer.of(
        row,
        judge=judge_of(row.details),
        interval=_interval(row, row.low, row.high, row.interval_method),
        shrunken_score=row.shrunken_value,
        null=null,
        lift_over_pattern=next((control.lift for control in controls if control.name == "baseline"), None),
        controls=controls,
        caveat=(row.details.get("provenance") or {}).get("caveat"),
        items=items,
    )


def _interval(row: ScoreRow, low: float | None, high: float | None, method: str | None) -> IntervalAnswer | None:
    if low is None or high is None:
        return None
    return IntervalAnswer(low=low, high=high, level=row.details.get("level") or LEVEL, method=method)
