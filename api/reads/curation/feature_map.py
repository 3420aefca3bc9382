"""Read the map of a dictionary's features."""

import base64
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from api.reads.cursors import WITHOUT_NUL
from api.reads.dictionaries import RUN, summary
from api.reads.names import run_name
from api.reads.search import hits
from api.reads.search.hits import WRITTEN, SearchFilters
from api.schemas.curation.feature_map import MapAnswer, MapColour, MapHit, MapPoints, MapQuality
from api.schemas.dictionaries import FeatureSummary
from api.schemas.search import SearchMode, SearchPage
from interp.domain.errors import NotFoundError
from interp.store.db.engine import Session
from interp.store.db.tables import DictionaryRow
from interp.store.listings import queries, search
from interp.store.listings.distributions import FIGURES
from interp.store.listings.label_codes import LabelCodes
from interp.store.results import feature_maps, runs
from interp.store.results.feature_maps import Points, StoredMap

# Figures whose colours go by the logarithm, as their distributions do.
DECADES = frozenset(name for name, by_decades in FIGURES.items() if by_decades)
MapText = Annotated[str, Field(max_length=400, pattern=WITHOUT_NUL)]


class MapFilters(BaseModel):
    """The run whose figures colour a map, and a query whose hits are told."""

    model_config = ConfigDict(extra="forbid")

    run: str | None = Field(default=None, min_length=1, max_length=400, pattern=WITHOUT_NUL, description=RUN)
    colour: MapColour = MapColour.SCORE
    q: MapText | None = Field(default=None, description=WRITTEN)
    mode: SearchMode = Field(default=SearchMode.HYBRID, description="By words, by meaning, or by both ranks together.")
    hits: int = Field(default=50, ge=1, le=queries.MAX_LIMIT, description="Hits at most.")
    points: bool = Field(default=True, description="Whether the columns of points are told; the hits of another query need none.")


def feature_map(session: Session, dictionary: str, filters: MapFilters, codes: LabelCodes) -> MapAnswer:
    """Return the map of a dictionary, coloured by a run's figure.

    Raises NotFoundError for a dictionary without a map, and as the search does.
    """
    of = queries.dictionary(session, dictionary)
    shown = runs.shown(session, of, filters.run)
    found = stored(session, of)
    answer = _searched(session, of, filters, codes)
    placed = np.flatnonzero(~np.isnan(found.places[:, 0]))
    name = filters.colour.value
    values = feature_maps.figure(session, shown.id, name, len(found.places))[placed] if filters.points else np.zeros(0, np.float32)
    if not shown.tokens and name in DECADES:
        # An imported run, whose records are not a whole corpus: 0 stands for what is not known.
        values[values == 0] = np.nan
    known = values[np.isfinite(values) & ((values > 0) | (name not in DECADES))]
    return MapAnswer(
        dictionary=of.name,
        run=run_name(shown, of),
        job=found.job_id,
        created_at=found.created_at,
        features=of.n_features,
        sides=2 if of.polarity == "both" else 1,
        placed=len(placed),
        quality=MapQuality(**found.quality),
        colour=filters.colour,
        by_decades=name in DECADES,
        low=float(known.min()) if len(known) else None,
        high=float(known.max()) if len(known) else None,
        points=_points(found.places, placed, values) if filters.points else None,
        hits=[MapHit(index=hit.index, name=hit.name, label=hit.label) for hit in answer.items] if answer else [],
        without_meaning=answer.without_meaning if answer else None,
    )


def point(session: Session, dictionary: str, index: int, run: str | None) -> tuple[str, FeatureSummary | None]:
    """Return a feature's name, and what a run lists of it, or None.

    Raises NotFoundError for a feature that the dictionary does not have.
    """
    of = queries.dictionary(session, dictionary)
    if index >= of.n_features:
        raise NotFoundError(f"{of.name} has {of.n_features} features.", cure=f"Write a number from 0 to {of.n_features - 1}.")
    shown = runs.shown(session, of, run)
    row = search.rows_of(session, [(shown.id, index)]).get((shown.id, index))
    return of.feature_name(index), None if row is None else FeatureSummary(**summary(row, shown, of, None))


def stored(session: Session, of: DictionaryRow) -> StoredMap:
    """Return the map of a dictionary; raises NotFoundError with what makes one."""
    found = feature_maps.find(session, of.id)
    if found is None:
        raise NotFoundError(
            f"{of.name} has no map.",
            why="Jobs make it since maps are there, for trained dictionaries of a moderate size.",
            cure="Submit a job on it again with `map: true`: evidence, labels and scores that are there are not made again.",
        )
    return found


def _searched(session: Session, of: DictionaryRow, filters: MapFilters, codes: LabelCodes) -> SearchPage | None:
    if filters.q is None or not filters.q.strip():
        return None
    asked = SearchFilters(q=filters.q, mode=filters.mode, dictionary=of.name, run=filters.run, limit=filters.hits)
    return hits.labels(session, asked, codes)


def _points(places: Points, placed: NDArray[np.int64], values: Points) -> MapPoints:
    x, y = places[placed].T
    return MapPoints(feature=_column(placed, "<i4"), x=_column(x, "<f4"), y=_column(y, "<f4"), value=_column(values, "<f4"))


def _column(values: NDArray[np.generic], kind: str) -> str:
    return base64.b64encode(values.astype(kind).tobytes()).decode()
