"""Assign rows to distinct columns by an auction: for matrices too large to hold."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
# Given rows int64 [N] and prices [C], the k greatest of a row's values less prices, descending float64 [N, k], and their columns int64 [N, k].
Nearest = Callable[[Indices, Floats], tuple[Floats, Indices]]
UNASSIGNED = -1


@dataclass(frozen=True, slots=True)
class Assignment:
    """An assignment of rows to columns, and a bound of its sum.

    columns int64 [R], -1 where a row has none; no assignment has a sum above `bound`.
    """

    columns: Indices
    bound: float


class _Auction:
    """Prices of columns, and candidates of rows.

    Candidates are the columns with the greatest values, less prices, when the row last looked at all of them.
    """

    def __init__(self, nets: Floats, choices: Indices, columns: int) -> None:
        self.values, self.choices = nets.copy(), choices.copy()
        # No pair outside a row's candidates is worth more than this, after prices: prices only rise.
        self.outside = nets[:, -1].copy() if nets.shape[1] < columns else np.full(len(nets), -np.inf)
        self.prices, self.owners = np.zeros(columns), np.full(columns, UNASSIGNED)
        self.columns = np.full(len(nets), UNASSIGNED)

    def bid(self, rows: Indices, epsilon: float) -> tuple[Indices, Indices]:
        """Let rows bid for their best columns.

        Returns the rows that were outbid, and those whose candidates are exhausted.
        """
        nets = self.values[rows] - self.prices[self.choices[rows]]
        places = nets.argmax(axis=1)
        best = nets[np.arange(len(rows)), places]
        stale = best < self.outside[rows]
        nets[np.arange(len(rows)), places] = -np.inf
        second = np.maximum(nets.max(axis=1), self.outside[rows])
        bidders, kept = rows[~stale], ~stale
        columns = self.choices[bidders, places[kept]]
        # A row without any other column bids as if the other were worth nothing to it.
        rises = np.where(np.isfinite(second[kept]), best[kept] - second[kept], 1.0) + epsilon
        order = np.lexsort((rises, columns))
        wins = order[np.append(columns[order][1:] != columns[order][:-1], True)] if len(order) else order
        evicted = self.owners[columns[wins]]
        evicted = evicted[evicted != UNASSIGNED]
        self.columns[evicted] = UNASSIGNED
        self.owners[columns[wins]] = bidders[wins]
        self.columns[bidders[wins]] = columns[wins]
        self.prices[columns[wins]] += rises[wins]
        lost = np.ones(len(bidders), dtype=np.bool_)
        lost[wins] = False
        return np.concatenate([bidders[lost], evicted]), rows[stale]

    def look(self, rows: Indices, nearest: Nearest) -> None:
        """Take new candidates for rows, by the prices of now."""
        nets, choices = nearest(rows, self.prices)
        self.choices[rows], self.values[rows], self.outside[rows] = choices, nets + self.prices[choices], nets[:, -1]

    def bound(self) -> float:
        """Return the value of the dual problem, which no assignment exceeds."""
        best = (self.values - self.prices[self.choices]).max(axis=1)
        return float(np.maximum(best, self.outside).sum() + self.prices.sum())


def auction(nets: Floats, choices: Indices, columns: int, nearest: Nearest, *, epsilon: float, looks: int) -> Assignment:
    """Assign R <= C rows to distinct columns, with nearly the greatest sum of values.

    `nets` and `choices` [R, k] are each row's greatest values and their columns. Rows bid for columns, whose prices rise by `epsilon` at least. A row
    whose candidates have become dear looks at all columns again (`nearest`), in batches, `looks` batches at most. If no row is left without a column,
    the sum is within R `epsilon` of the greatest; the bound holds in any case. Source: the auction algorithm (Bertsekas 1988, The auction algorithm:
    a distributed relaxation method for the assignment problem), bids of all rows at once, on candidates that are priced anew when they are exhausted.
    """
    state = _Auction(nets, choices, columns)
    waiting, stale = np.arange(len(nets)), np.zeros(0, dtype=np.int64)
    while True:
        while len(waiting):
            waiting, exhausted = state.bid(waiting, epsilon)
            stale = np.concatenate([stale, exhausted])
        if not len(stale) or not looks:
            return Assignment(state.columns, state.bound())
        looks -= 1
        state.look(stale, nearest)
        waiting, stale = stale, stale[:0]
