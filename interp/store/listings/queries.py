"""Read listings with keyset cursors, never an OFFSET (pages by `keyset`).

A page is ordered by (sort value, key). Rows without a value come last in both directions: rows with and without one are two ranges of the same index.
Ties and rows without a value are ordered by key in the direction of the listing, so that a descending page is the same index read backwards.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import accumulate
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, String, and_, cast, func, select, tuple_
from sqlalchemy.orm import Session

from interp.domain.errors import FeatureOutOfRangeError, NotFoundError
from interp.domain.lifecycle import JobStatus
from interp.domain.polarity import number
from interp.store.db.tables import DictionaryRow, ExplanationRow, FeatureListItemRow, FeatureRow, JobRow, RunRow, ScoreRow
from interp.store.listings import keyset
from interp.store.listings.keyset import Bound, Conditions, KeysetListing, ListingPage, Text
from interp.store.listings.sorting import FeatureSort as FeatureSort

MAX_LIMIT = 500
# Of the specs of a page of jobs, together.
MAX_PAGE_CHARACTERS = 8 << 20

Row = TypeVar("Row")

PLACE_OF_EXPLANATION = ("run_id", "feature", "id")
# Sorts for which some features have no value.
FIGURES = frozenset({FeatureSort.SCORE, FeatureSort.LIFT, FeatureSort.SHRUNKEN_SCORE, FeatureSort.P_VALUE, FeatureSort.Q_VALUE})
WITHOUT_VALUE = FIGURES | {FeatureSort.LABEL, FeatureSort.EXPLAINER}
# Columns that every index of features has.
OF_EVERY_INDEX = ("run_id", "feature", "state", "score", "lift", "density", "q_value")


@dataclass(frozen=True, slots=True)
class Position:
    """The last row of a page: its sort value (None without one) and its index."""

    value: float | str | None
    feature: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureBounds:
    """Filters of features.

    Every index of features holds those before `min_shrunken_score`, and state. Inclusive bounds exclude features without a value. `among` names
    the only features (SQLite: some ten thousand at most), `list_id` the list that they are in.
    """

    min_score: float | None = None
    max_score: float | None = None
    min_lift: float | None = None
    max_lift: float | None = None
    min_density: float | None = None
    max_density: float | None = None
    max_q: float | None = None
    min_shrunken_score: float | None = None
    max_shrunken_score: float | None = None
    max_p: float | None = None
    min_tokens_active: int | None = None
    max_tokens_active: int | None = None
    min_max_activation: float | None = None
    max_max_activation: float | None = None
    min_mean_active: float | None = None
    max_mean_active: float | None = None
    min_firing_level: float | None = None
    max_firing_level: float | None = None
    explainer: str | None = None
    state: str | None = None
    among: tuple[int, ...] | None = None
    list_id: int | None = None


@dataclass(frozen=True, slots=True)
class FeatureQuery(FigureBounds):
    """Filters and order of one run's features."""

    run_id: int
    sort: FeatureSort = FeatureSort.INDEX
    descending: bool = False
    text: str | None = None
    after: Position | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class ExplanationQuery:
    """Filters of explanations, in the order run, feature, id.

    `after` is the last row's run, feature and id; the page begins in its run.
    """

    runs: tuple[int, ...]
    feature: int | None = None
    explainer: str | None = None
    text: str | None = None
    after: tuple[int, int, int] | None = None
    limit: int = 50


def job(session: Session, job_id: str) -> JobRow:
    """Return a job as it is stored now, or raise NotFoundError."""
    found = session.get(JobRow, job_id, populate_existing=True)
    if found is None:
        raise NotFoundError(f"There is no job {job_id}.", cure="List the jobs with `glossator job list` (GET /v1/jobs).", job=job_id)
    return found


def features(session: Session, query: FeatureQuery) -> ListingPage[FeatureRow, Position]:
    """Return one page of features.

    With a text or uncovered bounds, short pages may precede more.
    """
    found = keyset.read(session, feature_listing(query))
    last = found.next
    return ListingPage(found.rows, None if last is None else Position(getattr(last, query.sort.column), last.feature))


def feature_listing(query: FeatureQuery) -> KeysetListing[FeatureRow]:
    """Return the index and the conditions of a page of features."""

    def parts(row: Any) -> list[Conditions]:
        of_sort = [condition for bound in uncovered_bounds(query) if bound.column == query.sort.column for condition in bound.of(row)]
        own = (row.run_id == query.run_id, *feature_filters(row, query), *of_sort)
        column = getattr(row, query.sort.column)
        found = [(*own, *_valued(row, column, query))] if _may_have_value(query) else []
        return [*found, (*own, *_valueless(row, column, query))] if query.sort in WITHOUT_VALUE else found

    order = tuple(dict.fromkeys((query.sort.column, "feature")))
    text = None if query.text is None else Text("label", query.text)
    same = (FeatureRow.run_id == query.run_id,)
    # A bound on the sort's own column narrows its index anyway.
    may_sort = query.list_id is not None or any(bound.column != query.sort.column for bound in covered_bounds(query))
    # The index of the sort has its own column, too.
    uncovered = tuple(bound for bound in uncovered_bounds(query) if bound.column != query.sort.column)
    return KeysetListing(FeatureRow, order, parts, query.limit, OF_EVERY_INDEX, query.descending, text, same, may_sort, uncovered)


def _may_have_value(query: FeatureQuery) -> bool:
    """Return whether rows with a sort value may follow (dead features have none)."""
    has_none = query.state == "dead" and query.sort in FIGURES
    return not has_none and (query.after is None or query.after.value is not None)


def _valued(row: Any, column: Any, query: FeatureQuery) -> Conditions:
    """Return the conditions of rows with a sort value, after the cursor."""
    if query.after is None:
        return (column.is_not(None),)
    key, place = tuple_(column, row.feature), tuple_(query.after.value, query.after.feature)
    return (column.is_not(None), key < place if query.descending else key > place)


def _valueless(row: Any, column: Any, query: FeatureQuery) -> Conditions:
    """Return the conditions of rows without a sort value, after any cursor among them."""
    if query.after is None or query.after.value is not None:
        return (column.is_(None),)
    beyond = row.feature < query.after.feature if query.descending else row.feature > query.after.feature
    return (column.is_(None), beyond)


def feature_filters(row: Any, query: FigureBounds) -> list[ColumnElement[bool]]:
    """Return the conditions of all covered bounds and of the state."""
    filters = [condition for bound in covered_bounds(query) for condition in bound.of(row)]
    filters += [] if query.state is None else [row.state == query.state]
    filters += [] if query.list_id is None else [in_list(row, query.list_id)]
    return filters if query.among is None else [*filters, row.feature.in_(query.among)]


def in_list(row: Any, list_id: int) -> ColumnElement[bool]:
    """Return whether a row's feature is in a list: of its run's dictionary, by number."""
    members = select(RunRow.id, FeatureListItemRow.feature).join(RunRow, RunRow.dictionary_id == FeatureListItemRow.dictionary_id)
    return tuple_(row.run_id, row.feature).in_(members.where(FeatureListItemRow.list_id == list_id))


def covered_bounds(query: FigureBounds) -> list[Bound]:
    """Return the bounds of columns that every index of features has."""
    return _given(
        Bound("score", query.min_score, query.max_score),
        Bound("lift", query.min_lift, query.max_lift),
        Bound("density", query.min_density, query.max_density),
        Bound("q_value", None, query.max_q),
    )


def uncovered_bounds(query: FigureBounds) -> list[Bound]:
    """Return the bounds of columns that only the index of their own sort has."""
    return _given(
        Bound("shrunken_score", query.min_shrunken_score, query.max_shrunken_score),
        Bound("p_value", None, query.max_p),
        Bound("tokens_active", query.min_tokens_active, query.max_tokens_active),
        Bound("max_activation", query.min_max_activation, query.max_max_activation),
        Bound("mean_active", query.min_mean_active, query.max_mean_active),
        Bound("firing_level", query.min_firing_level, query.max_firing_level),
        Bound("explainer", query.explainer, query.explainer),
    )


def _given(*bounds: Bound) -> list[Bound]:
    return [bound for bound in bounds if bound.low is not None or bound.high is not None]


def explanations(session: Session, query: ExplanationQuery) -> ListingPage[ExplanationRow, tuple[int, int, int]]:
    """Return one page of explanations; with a text, short pages may precede more."""
    rows: list[ExplanationRow] = []
    begun = 0 if query.after is None else query.runs.index(query.after[0])
    for run_id in query.runs[begun:]:
        left = query.limit - len(rows)
        # One row beyond a full page shows that there is another page.
        found = keyset.read(session, explanation_listing(replace(query, limit=max(left, 1)), run_id))
        if left == 0 and (found.rows or found.next is not None):
            return ListingPage(tuple(rows), _place(rows[-1]))
        rows += found.rows if left else ()
        if found.next is not None:
            return ListingPage(tuple(rows), _place(found.next))
    return ListingPage(tuple(rows), None)


def _place(row: ExplanationRow) -> tuple[int, int, int]:
    return row.run_id, row.feature, row.id


def explanation_listing(query: ExplanationQuery, run_id: int) -> KeysetListing[ExplanationRow]:
    """Return the index of a page of one run's explanations, by its filters."""
    wanted = {"run_id": run_id} | {name: getattr(query, name) for name in ("feature", "explainer") if getattr(query, name) is not None}
    # Columns that are the same in all rows are left out: with them PostgreSQL would begin at the first row, not at the cursor.
    order = tuple(name for name in PLACE_OF_EXPLANATION if name not in wanted)
    after = query.after if query.after is not None and query.after[0] == run_id else None

    def parts(row: Any) -> list[Conditions]:
        conditions = [getattr(row, name) == value for name, value in wanted.items()]
        if after is not None:
            place = dict(zip(PLACE_OF_EXPLANATION, after, strict=True))
            conditions.append(tuple_(*(getattr(row, name) for name in order)) > tuple_(*(place[name] for name in order)))
        return [tuple(conditions)]

    text = None if query.text is None else Text("text", query.text)
    same = (ExplanationRow.run_id == run_id,)
    return KeysetListing(ExplanationRow, order, parts, query.limit, (*PLACE_OF_EXPLANATION, "explainer"), text=text, same=same)


def explanations_by_id(session: Session, ids: Sequence[int]) -> dict[int, ExplanationRow]:
    """Return some explanations, by id."""
    return {row.id: row for row in session.scalars(select(ExplanationRow).where(ExplanationRow.id.in_(ids)))}


def explainers_of(session: Session, ids: Sequence[int]) -> dict[int, str]:
    """Return who wrote some explanations, by id."""
    return dict(session.execute(select(ExplanationRow.id, ExplanationRow.explainer).where(ExplanationRow.id.in_(ids))).all())


def listed_of(session: Session, explanation_ids: Sequence[int]) -> dict[int, FeatureRow]:
    """Return the listed feature of each explanation, by explanation id, where there is one."""
    same = (FeatureRow.run_id == ExplanationRow.run_id, FeatureRow.feature == ExplanationRow.feature)
    statement = select(ExplanationRow.id, FeatureRow).join(FeatureRow, and_(*same)).where(ExplanationRow.id.in_(explanation_ids))
    return dict(session.execute(statement).all())


def scores_of(session: Session, explanation_ids: Sequence[int]) -> dict[int, list[ScoreRow]]:
    """Return the scores of each explanation that has any, by scorer."""
    found: dict[int, list[ScoreRow]] = {}
    statement = select(ScoreRow).where(ScoreRow.explanation_id.in_(explanation_ids)).order_by(ScoreRow.explanation_id, ScoreRow.scorer, ScoreRow.id)
    for score in session.scalars(statement):
        found.setdefault(score.explanation_id, []).append(score)
    return found


def jobs(
    session: Session, status: JobStatus | None = None, after: tuple[datetime, str] | None = None, limit: int = 50, owner: str | None = None
) -> ListingPage[JobRow, tuple[datetime, str]]:
    """Return one page of jobs, newest first, after a creation time and id.

    It is shorter than `limit` where the specs are large: hundreds of jobs with a list of all their features would fill the memory.
    """
    order = (JobRow.created_at, JobRow.id)
    statement = select(JobRow).order_by(*(column.desc() for column in order))
    if status is not None:
        statement = statement.where(JobRow.status == status)
    if owner is not None:
        statement = statement.where(JobRow.owner == owner)
    if after is not None:
        statement = statement.where(tuple_(*order) < tuple_(*after))
    sizes = session.scalars(statement.with_only_columns(func.length(cast(JobRow.spec, String))).limit(limit + 1)).all()
    sums = accumulate(size or 0 for size in sizes[:limit])
    fitting = sum(place == 0 or total <= MAX_PAGE_CHARACTERS for place, total in enumerate(sums))
    rows = tuple(session.scalars(statement.limit(fitting)))
    return ListingPage(rows, (rows[-1].created_at, rows[-1].id) if len(sizes) > fitting else None)


def controls_of(session: Session, job_ids: Collection[str]) -> dict[str, JobRow]:
    """Return the random-weights controls of some jobs, by the controlled job."""
    return {str(row.control_of): row for row in session.scalars(select(JobRow).where(JobRow.control_of.in_(job_ids)))}


def dictionaries(session: Session, after: int | None = None, limit: int = 50) -> ListingPage[DictionaryRow, int]:
    """Return one page of dictionaries, by id."""
    statement = select(DictionaryRow).where(DictionaryRow.id > (after or 0)).order_by(DictionaryRow.id).limit(limit + 1)
    rows, more = _cut(session.scalars(statement).all(), limit)
    return ListingPage(rows, rows[-1].id if more else None)


def dictionary(session: Session, reference: str) -> DictionaryRow:
    """Return a dictionary by id or name, or raise NotFoundError, which lists the names."""
    chosen = DictionaryRow.id == int(reference) if reference.isdecimal() and len(reference) < 10 else DictionaryRow.name == reference
    found = session.scalar(select(DictionaryRow).where(chosen))
    if found is None:
        known = list(session.scalars(select(DictionaryRow.name).order_by(DictionaryRow.id).limit(10)))
        cure = f"Known: {', '.join(known)}." if known else "There is none yet: submit a job first."
        raise NotFoundError(f"No dictionary {reference!r}.", cure=cure, known=known)
    return found


def feature_number(dictionary: DictionaryRow, written: str, beyond: type[NotFoundError] | type[FeatureOutOfRangeError] = NotFoundError) -> int:
    """Return a feature's number by `interp.domain.polarity.ADDRESS`.

    Raises NotFoundError for a side that was not collected, and `beyond` for a number that the dictionary does not have.
    """
    found = number(written, dictionary.n_features, dictionary.polarity)
    if found is None:
        raise NotFoundError(
            f"No feature {dictionary.name}:{written}.",
            why="The dictionary was collected with the positive side of each feature alone.",
            cure="Submit a job with `dictionary.polarity: both`: it gives a dictionary of its own.",
        )
    if not 0 <= found < dictionary.n_features:  # PostgreSQL's integers end sooner than what may be written
        why = f"{dictionary.name} has the features {all_of(dictionary)}."
        raise beyond(f"No feature {dictionary.name}:{written}.", why=why, features=dictionary.n_features)
    return found


def all_of(dictionary: DictionaryRow) -> str:
    """Return the first and the last feature of a dictionary, in words."""
    if dictionary.polarity == "positive":
        return f"0 to {dictionary.n_features - 1}"
    last = dictionary.n_features // 2 - 1
    return f"0 to {last} and their negative sides 0- to {last}-"


def dictionary_names(session: Session, ids: Collection[int]) -> dict[int, str]:
    """Return the names of some dictionaries, by id."""
    return dict(session.execute(select(DictionaryRow.id, DictionaryRow.name).where(DictionaryRow.id.in_(ids))).all())


def _cut(rows: Sequence[Row], limit: int) -> tuple[tuple[Row, ...], bool]:
    return tuple(rows[:limit]), len(rows) > limit
