"""Read the scores of two explainers by feature."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from api.schemas.curation.league import LeagueDifferenceAnswer, LeagueDivisionAnswer
from interp.domain.polarity import address
from interp.store.db.engine import Session
from interp.store.listings import queries
from interp.store.results import league, runs
from interp.store.results.league import PairedScore

# A drawing shows no more points, and a table no more rows.
MOST_POINTS, MOST_ROWS = 2_000, 20


@dataclass(frozen=True, slots=True)
class ExplainerPairs:
    """The features that two explainers both have a score of.

    `points` are every `step`-th of them by index, `largest` those that differ most. `addresses` are those of the largest's pages, by feature.
    """

    total: int
    step: int
    points: Sequence[PairedScore]
    largest: Sequence[PairedScore]
    addresses: Mapping[int, str]


def pairs(session: Session, dictionary: str, run: str | None, division: LeagueDivisionAnswer, of: LeagueDifferenceAnswer) -> ExplainerPairs:
    """Return the pairs of a difference of a league table; raises NotFoundError."""
    row = queries.dictionary(session, dictionary)
    shown = runs.shown(session, row, run)
    keys = (division.scorer, division.settings_digest), (of.first, of.first_settings), (of.second, of.second_settings)
    total = league.count_pairs(session, shown.id, *keys)
    step = max(1, math.ceil(total / MOST_POINTS))
    points = league.every_nth_pair(session, shown.id, *keys, step)[:MOST_POINTS]
    largest = league.largest_differences(session, shown.id, *keys, MOST_ROWS)
    addresses = {one.feature: address(one.feature, row.n_features, row.polarity) for one in largest}
    return ExplainerPairs(total, step, points, largest, addresses)
