"""Read reviews and their queue, and write reviews."""

from dataclasses import asdict
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from api.reads import cursors, pages
from api.reads.cursors import WITHOUT_NUL
from api.reads.dictionaries import RUN, summary
from api.reads.names import run_name
from api.schemas.curation.reviews import (
    AgreementAnswer,
    NewReviewRequest,
    PeopleAgreementAnswer,
    QueueAnswer,
    ReviewAnswer,
    ReviewPage,
    ScorerAgreementAnswer,
    Verdict,
)
from api.schemas.dictionaries import FeatureSummary
from interp.analysis import reviewers
from interp.domain.access import Principal
from interp.exchange.labels import label_text
from interp.store import feature_lists
from interp.store import reviews as stored
from interp.store.db.engine import Session
from interp.store.db.tables import DictionaryRow, ReviewRow, RunRow
from interp.store.listings import feature_detail, queries
from interp.store.results import runs

PLACE = TypeAdapter(tuple[cursors.RowId])


class ReviewFilters(BaseModel):
    """Filters of reviews, which are listed newest first."""

    model_config = ConfigDict(extra="forbid")

    dictionary: str | None = Field(default=None, min_length=1, max_length=255, pattern=WITHOUT_NUL, description="Its current run, or `run`.")
    run: str | None = Field(default=None, min_length=1, max_length=400, pattern=WITHOUT_NUL, description=RUN)
    index: int | None = Field(default=None, ge=0, lt=2**31)
    author: str | None = Field(default=None, min_length=1, max_length=255, pattern=WITHOUT_NUL)
    verdict: Verdict | None = None
    cursor: str | None = Field(default=None, max_length=2000, description="`next_cursor` of the page before, with the same filters.")
    limit: int = Field(default=50, ge=1, le=queries.MAX_LIMIT, description="Rows per page.")


class QueueFilters(BaseModel):
    """Which labels to review, and in which order."""

    model_config = ConfigDict(extra="forbid")

    order: Literal["worst", "random"] = Field(default="worst", description="`worst`: the largest q value first; `random`: a sample by `seed`.")
    seed: int = Field(default=0, ge=0, lt=2**31)
    list: str | None = Field(default=None, min_length=1, max_length=64, pattern=WITHOUT_NUL, description="Only features of this list.")
    run: str | None = Field(default=None, min_length=1, max_length=400, pattern=WITHOUT_NUL, description=RUN)
    limit: int = Field(default=20, ge=1, le=queries.MAX_LIMIT)


def create(session: Session, caller: Principal, dictionary: str, written: str, run: str | None, wanted: NewReviewRequest) -> ReviewAnswer:
    """Write a review; raises NotFoundError and InputError."""
    of = queries.dictionary(session, dictionary)
    shown = runs.shown(session, of, run)
    index = queries.feature_number(of, written)
    listed = feature_detail.read(session, of, shown, index).row
    text = None if wanted.text is None else label_text(wanted.text)
    review = stored.NewReview(index, wanted.verdict, caller.name, text, wanted.comment, wanted.explanation)
    return _answer(stored.write(session, shown, listed, review), shown, of)


def page(session: Session, filters: ReviewFilters) -> ReviewPage:
    """Return one page of reviews, newest first; raises NotFoundError, CursorInvalidError, InputError."""
    listing = {"of": "reviews"} | filters.model_dump(mode="json", exclude={"cursor", "limit"})
    after = cursors.decode(listing, filters.cursor, PLACE)[0] if filters.cursor else None
    run_id = None
    if filters.dictionary is not None:
        run_id = runs.shown(session, queries.dictionary(session, filters.dictionary), filters.run).id
    elif filters.run is not None:
        run_id = runs.addressed(session, filters.run).id
    found = stored.page(session, run_id, filters.index, filters.author, filters.verdict, after, filters.limit + 1)
    place = (found[filters.limit - 1][0].id,) if len(found) > filters.limit else None
    return pages.build(ReviewPage, found[: filters.limit], lambda rows: [_answer(*row) for row in rows], lambda row: row[0].id, listing, place)


def of_feature(session: Session, dictionary: str, written: str, run: str | None, limit: int) -> list[ReviewAnswer]:
    """Return the newest reviews of a feature; raises NotFoundError."""
    of = queries.dictionary(session, dictionary)
    shown = runs.shown(session, of, run)
    return [_answer(*row) for row in stored.page(session, shown.id, queries.feature_number(of, written), None, None, None, limit)]


def queue(session: Session, caller: Principal, dictionary: str, filters: QueueFilters) -> QueueAnswer:
    """Return features to review; raises NotFoundError, InputError."""
    of = queries.dictionary(session, dictionary)
    shown = runs.shown(session, of, filters.run)
    list_id = feature_lists.id_of(session, filters.list)
    rows = stored.queue(session, shown.id, caller.name, filters.order, filters.seed, list_id, filters.limit)
    best = queries.explanations_by_id(session, [row.explanation_id for row in rows if row.explanation_id is not None])
    items = [FeatureSummary(**summary(row, shown, of, best.get(row.explanation_id or 0))) for row in rows]
    return QueueAnswer(dictionary=of.name, run=run_name(shown, of), items=items)


def agreement(session: Session, dictionary: str, run: str | None) -> AgreementAnswer:
    """Return how people agree with scorers and one another; raises NotFoundError, InputError."""
    of = queries.dictionary(session, dictionary)
    shown = runs.shown(session, of, run)
    judged = stored.judged(session, shown.id)
    scores = stored.scores_of(session, sorted({one.explanation_id for one in judged}))
    return AgreementAnswer(
        dictionary=of.name,
        run=run_name(shown, of),
        verdicts=len(judged),
        scorers=[ScorerAgreementAnswer(**asdict(one)) for one in reviewers.with_scorers(judged, scores)],
        people=[PeopleAgreementAnswer(**asdict(one)) for one in reviewers.between_people(judged)],
    )


def _answer(row: ReviewRow, run: RunRow, dictionary: DictionaryRow) -> ReviewAnswer:
    return ReviewAnswer.of(
        row,
        name=dictionary.feature_name(row.feature),
        dictionary=dictionary.name,
        index=row.feature,
        run=run_name(run, dictionary),
        explanation=row.explanation_id,
    )
