"""Tests and intervals of pairs of features that fire at the same token."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from interp.health.counts import Counts
from interp.stats.intervals import t_quantile
from interp.stats.multiplicity import benjamini_hochberg

# False discovery rate of the pairs that are called significant.
RATE = 0.05
# With fewer groups of documents the design effects are guesses.
FEWEST_GROUPS = 8
ROWS_AT_ONCE = 256

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Margins:
    """What each of S features does alone, in n sampled tokens.

    fired    float64 `[S]`  sampled tokens at which it fires
    effects  float64 `[S]`  design effects, at least 1: G / (G - 1) Σ over groups of (firings - density * tokens)² / (n p (1 - p)) (Kish, Survey
             Sampling, 1965, ch. 8). Fired / effect is the number of independent firings that are worth as much: about that of documents, for a
             feature that fires all through few of them
    groups   groups of documents with tokens
    """

    tokens: int
    fired: Floats
    effects: Floats
    groups: int

    @classmethod
    def of(cls, counts: Counts) -> "Margins":
        """Return the margins of a `Cofiring`'s counts."""
        firing, tokens = counts.sums["firing"].astype(np.float64), counts.sums["tokens"].astype(np.float64)
        total, groups = tokens.sum(), int((tokens > 0).sum())
        fired = firing.sum(axis=1)
        density = fired / max(total, 1)
        between = ((firing - density[:, None] * tokens) ** 2).sum(axis=1) * groups / max(groups - 1, 1)
        within = total * density * (1 - density)
        effects = np.where(within > 0, between / np.where(within > 0, within, 1), 1)
        return cls(int(total), fired, np.maximum(effects, 1), groups)


@dataclass(frozen=True)
class Pairs:
    """P pairs of rows of features; all `[P]`.

    first, second  int64    rows, first < second
    together       float64  sampled tokens at which both fire
    q              float64  smallest false discovery rate at which more tokens than by chance are significant
    """

    first: Ints
    second: Ints
    together: Floats
    q: Floats

    def __len__(self) -> int:
        return len(self.first)

    def select(self, keep: NDArray[np.bool_] | NDArray[np.intp]) -> "Pairs":
        return Pairs(self.first[keep], self.second[keep], self.together[keep], self.q[keep])


def significant_pairs(counts: Counts, margins: Margins) -> tuple[Pairs, int]:
    """Return the pairs that fire together more than by chance, and the tests.

    The false discovery rate is `RATE`; tests are a number. Tested are all pairs of the subset, and of each feature with its nearest; pairs with a
    feature that never fires are not. By chance two features fire together at λ = n_a n_b / n tokens; p = P(Poisson(λ / e) >= together / e), continued
    by the incomplete gamma function. e is the smaller of their design effects: by Bartlett (J. R. Stat. Soc. 98, 1935) the variance of a product of
    two independent autocorrelated series is raised by the sum of the products of their autocorrelations, which the sum of either exceeds where these
    are not negative. Trap: tested by tokens, any two features of one long document are significant.
    """
    alive = int((margins.fired[counts.fixed["subset"]] > 0).sum())
    listed, nearest = _of_subset(counts, margins), _of_nearest(counts, margins)
    first, second, together, p = (np.concatenate(parts) for parts in zip(listed, nearest, strict=True))
    tests = alive * (alive - 1) // 2 + len(nearest[0])
    q = benjamini_hochberg(p, tests)
    found = Pairs(first, second, together, q)
    return found.select(q <= RATE), tests


def near_pairs(counts: Counts) -> tuple[Ints, Ints, Floats]:
    """Return the pairs of nearest features, once, and their tokens together `[P]`.

    Rows are first < second.
    """
    neighbours = counts.fixed["neighbours"]
    rows = np.repeat(np.arange(len(neighbours)), neighbours.shape[1])
    others, together = neighbours.reshape(-1), counts.sums["near"].reshape(-1).astype(np.float64)
    counted = others < len(neighbours)
    pairs = np.stack([np.minimum(rows, others), np.maximum(rows, others)])[:, counted]
    _, places = np.unique(pairs[0] * len(neighbours) + pairs[1], return_index=True)
    return pairs[0][places], pairs[1][places], together[counted][places]


def phi(tokens: float, first: Floats, second: Floats, together: Floats) -> Floats:
    """Return the correlation of two features' firing, float64 `[P]`; 0 where one never varies.

    φ = (n n_ab - n_a n_b) / √(n_a (n - n_a) n_b (n - n_b)) (Yule, J. R. Stat. Soc. 75, 1912). Trap: it reaches 1 only at equal densities; a rare
    feature that fires only where a frequent one does has a small φ.
    """
    scale = np.sqrt(first * (tokens - first) * second * (tokens - second))
    found: Floats = np.where(scale > 0, (tokens * together - first * second) / np.where(scale > 0, scale, 1), 0.0)
    return found


def wilson_bounds(hits: Floats, trials: Floats, effects: Floats, groups: int) -> tuple[Floats, Floats]:
    """Return Wilson's 95% bounds of shares hits / trials `[P]` of clustered trials.

    Source: `interp.stats.intervals.wilson`, at trials / design effect (Korn and Graubard, Survey Methodology 24, 1998).
    """
    size, share = np.maximum(trials / effects, 1e-12), hits / np.maximum(trials, 1e-12)
    z2 = t_quantile(0.95, max(groups - 1, 1)) ** 2
    middle = (share + z2 / (2 * size)) / (1 + z2 / size)
    half = np.sqrt(z2) / (1 + z2 / size) * np.sqrt(share * (1 - share) / size + z2 / (4 * size**2))
    return np.maximum(np.minimum(middle - half, share), 0), np.minimum(np.maximum(middle + half, share), 1)


def effects_of(margins: Margins, first: Ints, second: Ints) -> Floats:
    """Return the design effect of each pair's tokens together, see `significant_pairs`."""
    found: Floats = np.minimum(margins.effects[first], margins.effects[second])
    return found


def _of_subset(counts: Counts, margins: Margins) -> tuple[Ints, Ints, Floats, Floats]:
    """Return the pairs of the subset with p <= `RATE`, some rows at a time."""
    subset, parts = counts.fixed["subset"], []
    for start in range(0, max(len(subset), 1), ROWS_AT_ONCE):
        rows, columns = np.nonzero(counts.sums["together"][start : start + ROWS_AT_ONCE])
        together = counts.sums["together"][rows + start, columns].astype(np.float64)
        parts.append(_tested(subset[rows + start], subset[columns], together, margins))
    first, second, together, p = (np.concatenate(part) for part in zip(*parts, strict=True))
    return first, second, together, p


def _of_nearest(counts: Counts, margins: Margins) -> tuple[Ints, Ints, Floats, Floats]:
    """Return the pairs of nearest features that are not both in the subset, and alive."""
    first, second, together = near_pairs(counts)
    inside = np.isin(first, counts.fixed["subset"]) & np.isin(second, counts.fixed["subset"])
    own = ~inside & (margins.fired[first] > 0) & (margins.fired[second] > 0)
    return _p_values(first[own], second[own], together[own], margins)


def _tested(first: Ints, second: Ints, together: Floats, margins: Margins) -> tuple[Ints, Ints, Floats, Floats]:
    first, second, together, p = _p_values(first, second, together, margins)
    return first[p <= RATE], second[p <= RATE], together[p <= RATE], p[p <= RATE]


def _p_values(first: Ints, second: Ints, together: Floats, margins: Margins) -> tuple[Ints, Ints, Floats, Floats]:
    chance = margins.fired[first] * margins.fired[second] / max(margins.tokens, 1)
    effects = effects_of(margins, first, second)
    p = np.ones(len(first))
    more = together > chance
    p[more] = special.gammainc(together[more] / effects[more], chance[more] / effects[more])
    return first, second, together, p
