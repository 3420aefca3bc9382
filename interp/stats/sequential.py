"""Intervals that hold at every moment at once, so that one may look after each answer and stop."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, gammaln, xlogy

from interp.stats.intervals import Bounds

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
CELLS = 800
_GRID: Floats = np.linspace(0, 1, CELLS + 1)
# Both parameters of Jeffreys' prior: what the capital is bet on. Any prior keeps the error rate; this one loses least at rates near 0 and 1.
PRIOR = 0.5


class Stop(StrEnum):
    """Why there is no need to ask on."""

    ABOVE = "above"
    BELOW = "below"
    NARROW = "narrow"


def balanced_sequence(recall_hits: Mask, specificity_hits: Mask, level: float = 0.95, populations: tuple[int, int] | None = None) -> Bounds:
    """Interval for the balanced accuracy from the answers so far: with chance `level` it holds the true value at **all** moments together.

    `recall_hits` [P] and `specificity_hits` [N] say which answers on firing and on silent windows were right; either may be empty. Windows must come
    in random order. What is covered is the figure over all windows that they were drawn from; with `populations` (how many firing and silent ones
    there are) drawing without replacement is made use of, and the interval closes on the exact figure as the last one is asked.

    For a rate r, bets against it earn capital K(r) = P(answers | r spread by Jeffreys' prior) / P(answers | r), a martingale from 1 if r is the true
    one, which reaches 1/(1 - level) with chance 1 - level at most (Ville 1939). Capital against a pair of rates is the product; the interval is the
    range of their mean over pairs with K below 1/(1 - level): narrower than two intervals joined.
    Sources: Waudby-Smith and Ramdas (J. R. Stat. Soc. B 86, 2024, 1-27) for betting; the same (NeurIPS 2020, section 2) for the prior-posterior ratio
    without replacement; Robbins (Ann. Math. Stat. 41, 1970) for the mixture.
    """
    firing, silent = populations or (None, None)
    recall = bets(int(recall_hits.sum()), len(recall_hits), firing)
    specificity = bets(int(specificity_hits.sum()), len(specificity_hits), silent)
    limit = -float(np.log1p(-level))
    return _least_sum(recall, specificity, limit) / 2, 1 - _least_sum(recall.mirrored(), specificity.mirrored(), limit) / 2


@dataclass(frozen=True, slots=True)
class Bets:
    """Cells of possible rates, ascending: from `low` [G] to `high` [G], and the log of the capital [G] earned against the best rate of each."""

    low: Floats
    high: Floats
    against: Floats

    def mirrored(self) -> "Bets":
        """The same of 1 - rate."""
        return Bets(1 - self.high[::-1], 1 - self.low[::-1], self.against[::-1])


def bets(hits: int, count: int, population: int | None = None) -> Bets:
    """What bets have earned after `count` answers, `hits` of them right. Raises ValueError for more answers than windows.

    Without a population the rates are the cells of a grid. With one they are those that it can have, each a cell of its own unless there are many.
    """
    misses = count - hits
    seen = float(betaln(PRIOR + hits, PRIOR + misses) - betaln(PRIOR, PRIOR))
    if population is None:
        rates = _GRID
        likelihood = xlogy(hits, rates) + xlogy(misses, 1 - rates)
        likeliest = hits / count if count else 0.0
    elif count > population:
        raise ValueError(f"{count} answers about {population} windows")
    else:
        right = np.unique(np.linspace(hits, population - misses, min(CELLS + 1, population - count + 1)).round())
        rates = right / population
        likelihood = _log_falling(right, hits) + _log_falling(population - right, misses) - float(_log_falling(np.array(population), count))
        if len(right) == population - count + 1:
            return Bets(rates, rates, seen - likelihood)
        likeliest = hits / count if count else 0.0
    against = seen - np.maximum(likelihood[:-1], likelihood[1:])
    # The likelihood has one peak: within its own cell it is higher than at the ends, and there nothing has been earned.
    against[min(int(np.searchsorted(rates, likeliest, side="right")) - 1, len(against) - 1)] = min(float(against.min()), 0.0)
    return Bets(rates[:-1], rates[1:], against)


def decide(bounds: Bounds, threshold: float | None, width: float | None) -> Stop | None:
    """Whether an interval says enough: it lies on one side of `threshold`, or is narrower than `width`; None to ask on."""
    if threshold is not None and bounds[0] > threshold:
        return Stop.ABOVE
    if threshold is not None and bounds[1] < threshold:
        return Stop.BELOW
    return Stop.NARROW if width is not None and bounds[1] - bounds[0] <= width else None


def _least_sum(first: Bets, second: Bets, limit: float) -> float:
    """The least sum of two rates with capital below the limit. From the likeliest rate down capital only grows: bisection finds the least second rate
    that each first one leaves room for."""
    peak = int(np.argmin(second.against))
    steps = np.searchsorted(second.against[peak::-1], limit - first.against, side="right")
    fits = steps > 0
    return float((first.low[fits] + second.low[peak + 1 - steps[fits]]).min())


def _log_falling(top: NDArray[Any], count: int) -> Floats:
    """Log of top (top - 1) ... (top - count + 1)."""
    falling: Floats = gammaln(top + 1) - gammaln(top - count + 1)
    return falling
