"""Choose the best explanation of each feature.

Listings, feature pages, exports and neighbours' labels use it. The best explanation has the greatest score, compared in this order:

1. the scorer: the first in `ORDER` by which any explanation of the feature has a defined value;
2. the shrunken score, or the plain value where there is none;
3. the lift over null, none being least;
4. the older explanation.

An explanation without a defined value comes after all that have one. The order is total. So the best of a run depends on its scores alone, not on
which job wrote them or which came last. A new score changes the best only where it is greater.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# The scorers, the most informative about an explanation first. Others are not ranked.
ORDER = ("detection", "fuzz", "simulation", "discrimination", "intruder", "selection", "embedding", "surprisal", "generation", "output")
UNSCORED = len(ORDER)
# Fewer new candidates are kept unsorted.
SORT_AT_LEAST = 65_536

Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Columns of N pairs of an explanation and a score of it, or none.

    features                                   int32 [N]
    explanations                               int64 [N]  ids, ascending with age
    ranks                                      int16 [N]  the scorer's place in `ORDER`; UNSCORED without a score
    values, shrunken_values, lifts, q_values, p_values   float64 [N]  NaN is None
    """

    features: NDArray[np.integer]
    explanations: NDArray[np.integer]
    ranks: NDArray[np.integer]
    values: NDArray[np.float64]
    shrunken_values: NDArray[np.float64]
    lifts: NDArray[np.float64]
    q_values: NDArray[np.float64]
    p_values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.features)

    def at(self, rows: Rows | NDArray[np.bool_]) -> "Candidates":
        """Return the candidates of these rows."""
        return Candidates(*(getattr(self, name)[rows] for name in self.__slots__))

    @staticmethod
    def joined(parts: Sequence["Candidates"]) -> "Candidates":
        """Return all candidates of several parts."""
        return Candidates(*(np.concatenate([getattr(part, name) for part in parts]) for name in Candidates.__slots__))


def rank_of(scorer: str | None) -> int:
    """Return the scorer's place in `ORDER`; UNSCORED where it has none."""
    return ORDER.index(scorer) if scorer in ORDER else UNSCORED


def unscored(features: Sequence[int], explanations: Sequence[int]) -> Candidates:
    """Return explanations without a score as candidates."""
    nothing = [None] * len(features)
    return scored(features, explanations, *[nothing] * 6)


def scored(
    features: Sequence[int],
    explanations: Sequence[int],
    scorers: Sequence[str | None],
    values: Sequence[float | None],
    shrunken_values: Sequence[float | None],
    lifts: Sequence[float | None],
    q_values: Sequence[float | None],
    p_values: Sequence[float | None],
) -> Candidates:
    """Return pairs of an explanation and a score of it as candidates, from columns."""
    ranks = np.array([rank_of(name) for name in scorers], np.int16)
    figures = [np.array(column, dtype=np.float64) for column in (values, shrunken_values, lifts, q_values, p_values)]
    return Candidates(np.array(features, np.int32), np.array(explanations, np.int64), ranks, *figures)


def in_order(found: Candidates) -> Rows:
    """Return the rows by feature, the best of each feature first, int [N]."""
    ranks = np.where(np.isnan(found.values), UNSCORED, found.ranks)
    main = np.where(np.isnan(found.shrunken_values), found.values, found.shrunken_values)
    figures = [-np.nan_to_num(column, nan=-np.inf) for column in (found.lifts, main)]
    # An undefined score counts as none, whatever its other figures are.
    lifts, main = (np.where(ranks == UNSCORED, 0.0, column) for column in figures)
    return np.lexsort((found.explanations, lifts, main, ranks, found.features))


def best(found: Candidates) -> Candidates:
    """Return the best candidate of each feature, ascending by feature [F]."""
    ordered = found.at(in_order(found))
    return ordered.at(np.diff(ordered.features, prepend=-1) > 0)


class BestSoFar:
    """The best of candidates that come in portions, at most some three per feature."""

    def __init__(self) -> None:
        self._parts = [unscored((), ())]
        self._pending = 0

    def add(self, some: Candidates) -> None:
        self._parts.append(some)
        self._pending += len(some)
        # Sort once the new candidates are as many as the old ones: each is then sorted a few times, not once per portion.
        if self._pending > max(SORT_AT_LEAST, len(self._parts[0])):
            self.best()

    def best(self) -> Candidates:
        """Return the best of each feature so far, ascending by feature."""
        self._parts, self._pending = [best(Candidates.joined(self._parts))], 0
        return self._parts[0]
