"""Rank listed features by their labels: by words, and by meaning, under filters of figures.

The time of a search is bounded, whatever it matches. Where filters leave at most `FEW` features, all of these are ranked. Else the first `EXAMINED`
labels that have the words are ranked, and the `WIDE` labels nearest by meaning, if they pass the filters; a ranking says where more may match.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, and_, cast, exists, func, literal, select, text, tuple_
from sqlalchemy.dialects.postgresql import TSQUERY
from sqlalchemy.orm import Session

from interp.search import codes
from interp.search.codes import Vectors
from interp.search.words import Term
from interp.store.db.dialect import among, by_any_index, is_postgresql, lookups
from interp.store.db.tables import FeatureRow, LabelRow, LabelVectorRow, ScoreRow
from interp.store.listings.label_codes import LabelCodes, Nearest
from interp.store.listings.queries import FigureBounds, feature_filters, in_list, uncovered_bounds

# Features of each ranking.
DEPTH = 500
FEW = 5_000
EXAMINED = 5_000
NEAR, WIDE = 1_000, 10_000

Key = tuple[int, int]  # run, feature
# Figures that each scorer has of its own, among the bounds that not every index holds.
OF_SCORES = ("shrunken_score", "p_value")


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchQuery(FigureBounds):
    """Runs and filters; `scorer` owns the figures of bounds, else the listing's."""

    runs: tuple[int, ...]
    scorer: str | None = None


@dataclass(frozen=True, slots=True)
class Ranking:
    """Up to `DEPTH` features, the best first.

    `is_complete` says that no other feature could be among them. `cosines` are those of a ranking by meaning.
    """

    keys: tuple[Key, ...] = ()
    is_complete: bool = True
    cosines: dict[Key, float] = field(default_factory=dict)


def are_few(session: Session, query: SearchQuery) -> bool:
    """Return whether bounds that an index of features holds leave at most `FEW`."""
    by_any_index(session)
    statement = select(FeatureRow.feature).where(*_in_indexes(query)).offset(FEW).limit(1)
    return session.execute(statement).first() is None


def by_words(session: Session, query: SearchQuery, terms: Sequence[Term], few: bool) -> Ranking:
    """Rank the features whose labels have all terms: those with the fewest other words first.

    `few` is the answer of `are_few`.
    """
    if not terms or not query.runs:
        return Ranking()
    own, of_label = _conditions(query), FeatureRow.label_id == LabelRow.id
    columns = select(FeatureRow.run_id, FeatureRow.feature, LabelRow.length)
    if few:
        statement = columns.join(LabelRow, of_label).where(*own, _has(session, terms))
        order = (LabelRow.length, FeatureRow.run_id, FeatureRow.feature)
        return Ranking(tuple((row.run_id, row.feature) for row in session.execute(statement.order_by(*order).limit(DEPTH))))
    some = select(LabelRow.id, LabelRow.length).where(_has(session, terms)).limit(EXAMINED + 1).cte("some")
    examined = select(func.count()).select_from(some)
    found = select(FeatureRow.run_id, FeatureRow.feature, some.c.length).join(some, FeatureRow.label_id == some.c.id).where(*own)
    cut = found.limit(4 * EXAMINED).subquery()
    ranked = select(cut.c.run_id, cut.c.feature, func.count().over().label("found"), examined.scalar_subquery().label("examined"))
    with lookups(session):
        rows = session.execute(ranked.order_by(cut.c.length, cut.c.run_id, cut.c.feature).limit(DEPTH)).all()
        is_complete = (rows[0].examined if rows else session.scalars(examined).one()) <= EXAMINED and (not rows or rows[0].found < 4 * EXAMINED)
    return Ranking(tuple((row.run_id, row.feature) for row in rows), is_complete)


def by_meaning(session: Session, query: SearchQuery, vector: Vectors, embedder: str, kept: LabelCodes, few: bool) -> Ranking:
    """Rank features by the cosine of their labels' vectors with one, of unit length.

    `few` is the answer of `are_few`.
    """
    if not query.runs:
        return Ranking()
    code = codes.code_of(vector)
    if few:
        features = _features_of_few(session, query)
        return _by_cosine(session, features, _nearest_of(session, set(features.values()), embedder, code), vector, embedder, True)
    near, features = _nearest_listed(session, query, embedder, code, kept)
    return _by_cosine(session, features, near.label_ids, vector, embedder, len(features) >= DEPTH or near.are_all)


def _nearest_listed(session: Session, query: SearchQuery, embedder: str, code: bytes, kept: LabelCodes) -> tuple[Nearest, dict[Key, int]]:
    """Return enough of the nearest labels for `DEPTH` features, at most `WIDE`, and the features."""
    count, near, asked, features = NEAR, Nearest([], False), set[int](), dict[Key, int]()
    while True:
        if len(near.label_ids) < count and not near.are_all:
            near = kept.nearest(session, embedder, code, count, WIDE)
        features |= _features_of(session, query, [label_id for label_id in near.label_ids[:count] if label_id not in asked])
        if len(features) >= DEPTH or count == WIDE or (near.are_all and count >= len(near.label_ids)):
            return near, features
        asked.update(near.label_ids[:count])
        # As many as would be enough if filters leave the same share of the next ones, and a quarter more.
        count = min(WIDE, max(2 * count, DEPTH * count * 5 // (len(features) * 4))) if features else WIDE


def rows_of(session: Session, keys: Sequence[Key]) -> dict[Key, FeatureRow]:
    """Return some listed features, by run and feature."""
    wanted = select(FeatureRow).where(tuple_(FeatureRow.run_id, FeatureRow.feature).in_(keys))
    return {(row.run_id, row.feature): row for row in session.scalars(wanted)}


def _by_cosine(session: Session, features: dict[Key, int], near: Sequence[int], vector: Vectors, embedder: str, is_complete: bool) -> Ranking:
    """Rank features (label by key) of the labels `near`, sorted by code."""
    has_feature = set(features.values())
    wanted = [label_id for label_id in near if label_id in has_feature][:DEPTH]
    cosines = _cosines(session, wanted, vector, embedder)
    found = [(-cosines[label_id], key) for key, label_id in features.items() if label_id in cosines]
    ranked = sorted(found)[:DEPTH]
    return Ranking(tuple(key for _, key in ranked), is_complete, {key: -negative for negative, key in ranked})


def _cosines(session: Session, label_ids: Sequence[int], vector: Vectors, embedder: str) -> dict[int, float]:
    statement = select(LabelVectorRow.label_id, LabelVectorRow.vector).where(
        among(session, LabelVectorRow.label_id, label_ids), LabelVectorRow.embedder == embedder
    )
    rows = session.execute(statement).all()
    if not rows:
        return {}
    found = codes.vectors_from([row.vector for row in rows]) @ vector
    return dict(zip((row.label_id for row in rows), np.clip(found, -1, 1).tolist(), strict=True))


def _nearest_of(session: Session, label_ids: set[int], embedder: str, code: bytes) -> list[int]:
    """Return some labels that have a vector, the nearest by code first."""
    own = (LabelVectorRow.embedder == embedder, among(session, LabelVectorRow.label_id, sorted(label_ids)))
    rows = session.execute(select(LabelVectorRow.label_id, LabelVectorRow.code).where(*own).order_by(LabelVectorRow.label_id)).all()
    order = codes.nearest(codes.codes_from([row.code for row in rows]), code, DEPTH)
    return [rows[place].label_id for place in order.tolist()]


def _features_of(session: Session, query: SearchQuery, label_ids: Sequence[int]) -> dict[Key, int]:
    of = among(session, FeatureRow.label_id, label_ids)
    statement = select(FeatureRow.run_id, FeatureRow.feature, FeatureRow.label_id).where(of, *_conditions(query))
    return {(row.run_id, row.feature): row.label_id for row in session.execute(statement.limit(4 * WIDE)) if row.label_id is not None}


def _features_of_few(session: Session, query: SearchQuery) -> dict[Key, int]:
    statement = select(FeatureRow.run_id, FeatureRow.feature, FeatureRow.label_id).where(*_conditions(query), FeatureRow.label_id.is_not(None))
    return {(row.run_id, row.feature): row.label_id for row in session.execute(statement) if row.label_id is not None}


def _conditions(query: SearchQuery) -> list[ColumnElement[bool]]:
    bounds = [bound for bound in uncovered_bounds(query) if query.scorer is None or bound.column not in OF_SCORES]
    found = [*_in_indexes(query), *(condition for bound in bounds for condition in bound.of(FeatureRow))]
    return found if query.scorer is None else [*found, _of_scorer(query)]


def _in_indexes(query: SearchQuery) -> list[ColumnElement[bool]]:
    own: list[ColumnElement[bool]] = [FeatureRow.run_id.in_(query.runs)]
    if query.scorer is None:
        return [*own, *feature_filters(FeatureRow, query)]
    own += _between(FeatureRow.density, query.min_density, query.max_density)
    own += [] if query.list_id is None else [in_list(FeatureRow, query.list_id)]
    return own if query.state is None else [*own, FeatureRow.state == query.state]


def _of_scorer(query: SearchQuery) -> ColumnElement[bool]:
    """Return whether the listed explanation has a score of the scorer within the bounds."""
    bounds = [
        *_between(ScoreRow.value, query.min_score, query.max_score),
        *_between(ScoreRow.lift, query.min_lift, query.max_lift),
        *_between(ScoreRow.shrunken_value, query.min_shrunken_score, query.max_shrunken_score),
        *_between(ScoreRow.p_value, None, query.max_p),
        *_between(ScoreRow.q_value, None, query.max_q),
    ]
    return exists().where(and_(ScoreRow.explanation_id == FeatureRow.explanation_id, ScoreRow.scorer == query.scorer, *bounds))


def _between(column: Any, low: float | None, high: float | None) -> list[ColumnElement[bool]]:
    return [*(() if low is None else (column >= low,)), *(() if high is None else (column <= high,))]


def _has(session: Session, terms: Sequence[Term]) -> ColumnElement[bool]:
    """Return whether a label has all terms.

    Lexemes are letters and digits, which no query language reads otherwise.
    """
    if is_postgresql(session):
        said = " & ".join(_for_postgresql(term) for term in terms)
        return LabelRow.words.op("@@")(cast(literal(said), TSQUERY))
    said = " AND ".join(f'"{" ".join(term.lexemes)}"{" *" if term.is_prefix else ""}' for term in terms)
    return LabelRow.id.in_(text("SELECT rowid FROM label_words WHERE label_words MATCH :words").bindparams(words=said))


def _for_postgresql(term: Term) -> str:
    joined = " <-> ".join(f"'{lexeme}'" for lexeme in term.lexemes)
    return f"{joined}:*" if term.is_prefix else f"({joined})"
