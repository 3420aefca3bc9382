"""The listings of the book: keyset cursors, one statement a page, never an OFFSET.

A page is ordered by (sort value, key). Rows without a value come last in both directions: the rows that have one and those that have none
are two ordered reads of the same index, joined by UNION ALL, because an OR over them would read the index from its start.
Ties and the rows without a value go by key in the direction of the listing, so that a descending page is the same index read backwards.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, literal, select, tuple_, union_all
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from interp.errors import NotFound
from interp.lifecycle import JobStatus
from interp.store.tables import Dictionary, Explanation, Feature, Job, Score

MAX_LIMIT = 500

Row = TypeVar("Row")
Place = TypeVar("Place")


class FeatureSort(StrEnum):
    """What a listing of features can be ordered by."""

    FEATURE = "feature"
    SCORE = "score"
    LIFT = "lift"
    SHRUNKEN = "shrunken"
    DENSITY = "density"
    LABEL = "label"


SORT_COLUMNS: dict[FeatureSort, InstrumentedAttribute[Any]] = {
    FeatureSort.FEATURE: Feature.feature,
    FeatureSort.SCORE: Feature.score,
    FeatureSort.LIFT: Feature.lift,
    FeatureSort.SHRUNKEN: Feature.shrunken,
    FeatureSort.DENSITY: Feature.density,
    FeatureSort.LABEL: Feature.label,
}


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page of features ended: the last row's sort value (None where it has none) and its index."""

    value: float | str | None
    feature: int


@dataclass(frozen=True, slots=True)
class FeatureQuery:
    """Which features of one dictionary, in which order. Bounds are inclusive; a feature without a value is within no bound."""

    dictionary_id: int
    sort: FeatureSort = FeatureSort.FEATURE
    descending: bool = False
    min_score: float | None = None
    max_score: float | None = None
    min_lift: float | None = None
    max_lift: float | None = None
    min_density: float | None = None
    max_density: float | None = None
    max_q: float | None = None
    state: str | None = None
    text: str | None = None
    after: Position | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class ExplanationQuery:
    """Which explanations, in the order (dictionary, feature, id). `after` is the last row's three."""

    dictionary_id: int | None = None
    feature: int | None = None
    explainer: str | None = None
    text: str | None = None
    after: tuple[int, int, int] | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class JobQuery:
    """Which jobs, newest first. `after` is the last row's time of creation and id."""

    status: JobStatus | None = None
    after: tuple[datetime, str] | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class Page(Generic[Row, Place]):
    """Some rows, and where to go on; `next` is None on the last page."""

    rows: tuple[Row, ...]
    next: Place | None


def features(session: Session, query: FeatureQuery) -> Page[Feature, Position]:
    """One page of a dictionary's features."""
    rows, more = _cut(session.scalars(feature_statement(query)).all(), query.limit)
    if not more:
        return Page(rows, None)
    value = getattr(rows[-1], query.sort.value)
    return Page(rows, Position(value, rows[-1].feature))


def feature_statement(query: FeatureQuery) -> Select[Any]:
    """The one statement of a page: `limit + 1` rows, the last of which only tells that there is more."""
    column = SORT_COLUMNS[query.sort]
    after = query.after
    parts: list[ColumnElement[bool]] = []
    if after is None or after.value is not None:
        parts.append(_valued(column, query))
    if column.property.columns[0].nullable:
        parts.append(_valueless(column, query))
    order = [column] if column is Feature.feature else [column, Feature.feature]
    selects = [
        select(Feature, literal(number).label("part"))
        .where(Feature.dictionary_id == query.dictionary_id, part, *_feature_filters(query))
        .order_by(*(term.desc() if query.descending else term.asc() for term in order))
        .limit(query.limit + 1)
        for number, part in enumerate(parts)
    ]
    # SQLite takes no LIMIT inside a compound, so each part is a table of its own.
    both = union_all(*(select(part.subquery()) for part in selects)).subquery()
    row = aliased(Feature, both)
    columns = [both.c[term.key] for term in order]
    return select(row).order_by(both.c.part, *(term.desc() if query.descending else term.asc() for term in columns)).limit(query.limit + 1)


def _valued(column: InstrumentedAttribute[Any], query: FeatureQuery) -> ColumnElement[bool]:
    """The rows that have a sort value, beyond the cursor."""
    if query.after is None:
        return column.is_not(None)
    key, place = tuple_(column, Feature.feature), tuple_(query.after.value, query.after.feature)
    return column.is_not(None) & (key < place if query.descending else key > place)


def _valueless(column: InstrumentedAttribute[Any], query: FeatureQuery) -> ColumnElement[bool]:
    """The rows that have none, beyond the cursor where it already lies among them."""
    if query.after is None or query.after.value is not None:
        return column.is_(None)
    beyond = Feature.feature < query.after.feature if query.descending else Feature.feature > query.after.feature
    return column.is_(None) & beyond


def _feature_filters(query: FeatureQuery) -> list[ColumnElement[bool]]:
    bounds = (
        (Feature.score, query.min_score, query.max_score),
        (Feature.lift, query.min_lift, query.max_lift),
        (Feature.density, query.min_density, query.max_density),
        (Feature.q_value, None, query.max_q),
    )
    filters: list[ColumnElement[bool]] = []
    for column, low, high in bounds:
        if low is not None:
            filters.append(column >= low)
        if high is not None:
            filters.append(column <= high)
    if query.state is not None:
        filters.append(Feature.state == query.state)
    if query.text is not None:
        filters.append(_contains(Feature.label, query.text))
    return filters


def explanations(session: Session, query: ExplanationQuery) -> Page[Explanation, tuple[int, int, int]]:
    """One page of explanations."""
    order = (Explanation.dictionary_id, Explanation.feature, Explanation.id)
    statement = select(Explanation).order_by(*order).limit(query.limit + 1)
    if query.dictionary_id is not None:
        statement = statement.where(Explanation.dictionary_id == query.dictionary_id)
    if query.feature is not None:
        statement = statement.where(Explanation.feature == query.feature)
    if query.explainer is not None:
        statement = statement.where(Explanation.explainer == query.explainer)
    if query.text is not None:
        statement = statement.where(_contains(Explanation.text, query.text))
    if query.after is not None:
        statement = statement.where(tuple_(*order) > tuple_(*query.after))
    rows, more = _cut(session.scalars(statement).all(), query.limit)
    return Page(rows, (rows[-1].dictionary_id, rows[-1].feature, rows[-1].id) if more else None)


def scores_of(session: Session, explanation_ids: Sequence[int]) -> dict[int, list[Score]]:
    """The scores of each explanation, by scorer; explanations without one are left out."""
    found: dict[int, list[Score]] = {}
    statement = select(Score).where(Score.explanation_id.in_(explanation_ids)).order_by(Score.explanation_id, Score.scorer, Score.id)
    for score in session.scalars(statement):
        found.setdefault(score.explanation_id, []).append(score)
    return found


def jobs(session: Session, query: JobQuery) -> Page[Job, tuple[datetime, str]]:
    """One page of jobs, the newest first."""
    order = (Job.created_at, Job.id)
    statement = select(Job).order_by(*(column.desc() for column in order)).limit(query.limit + 1)
    if query.status is not None:
        statement = statement.where(Job.status == query.status)
    if query.after is not None:
        statement = statement.where(tuple_(*order) < tuple_(*query.after))
    rows, more = _cut(session.scalars(statement).all(), query.limit)
    return Page(rows, (rows[-1].created_at, rows[-1].id) if more else None)


def dictionaries(session: Session, after: int | None = None, limit: int = 50) -> Page[Dictionary, int]:
    """One page of dictionaries, in the order in which they came."""
    statement = select(Dictionary).where(Dictionary.id > (after or 0)).order_by(Dictionary.id).limit(limit + 1)
    rows, more = _cut(session.scalars(statement).all(), limit)
    return Page(rows, rows[-1].id if more else None)


def dictionary(session: Session, reference: str) -> Dictionary:
    """The dictionary of an id or a name. Raises NotFound, which lists the names there are."""
    chosen = Dictionary.id == int(reference) if reference.isdecimal() and len(reference) < 10 else Dictionary.name == reference
    found = session.scalar(select(Dictionary).where(chosen))
    if found is None:
        known = list(session.scalars(select(Dictionary.name).order_by(Dictionary.id).limit(10)))
        cure = f"Known: {', '.join(known)}." if known else "There is none yet: submit a job first."
        raise NotFound(f"No dictionary {reference!r}.", cure=cure, known=known)
    return found


def dictionary_names(session: Session, ids: Collection[int]) -> dict[int, str]:
    """The names of some dictionaries, by id."""
    return dict(session.execute(select(Dictionary.id, Dictionary.name).where(Dictionary.id.in_(ids))).all())


def _contains(column: InstrumentedAttribute[Any], text: str) -> ColumnElement[bool]:
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return column.ilike(f"%{escaped}%", escape="\\")


def _cut(rows: Sequence[Row], limit: int) -> tuple[tuple[Row, ...], bool]:
    return tuple(rows[:limit]), len(rows) > limit
