"""Read the scores of two explainers by feature."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from api.reads.curation.league import RunLeague
from interp.analysis.league import Difference, Key
from interp.domain.polarity import address
from interp.store.db.engine import Session
from interp.store.results import league
from interp.store.results.league import PairedScore


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


def pairs(session: Session, of: RunLeague, scorer: Key, difference: Difference) -> ExplainerPairs:
    """Return the pairs of a difference of a league table."""
    wanted = sorted({*difference.sample, *difference.largest})
    found = league.paired_scores(session, of.run.id, scorer, difference.first, difference.second, wanted)
    points, largest = ([found[feature] for feature in features] for features in (difference.sample, difference.largest))
    addresses = {one.feature: address(one.feature, of.dictionary.n_features, of.dictionary.polarity) for one in largest}
    return ExplainerPairs(difference.found.pairs, difference.step, points, largest, addresses)
