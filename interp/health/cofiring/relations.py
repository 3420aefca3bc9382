"""Relations of features by firing together: blocks, implied, split and composite features."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from interp.health.cofiring.composites import PAIRS, Composite, found_composites
from interp.health.cofiring.pairs import (
    FEWEST_GROUPS,
    Estimate,
    Floats,
    Ints,
    Margins,
    Pairs,
    effects_of,
    near_pairs,
    phi,
    significant_pairs,
    wilson_bounds,
)
from interp.health.counts import Counts
from interp.stats.intervals import t_quantile, wilson

# The most pairs, blocks and so on that are listed, and features of a block.
LISTED = 100
# Features of a block are linked by correlations of at least this.
BLOCK_PHI = 0.5
SMALLEST_BLOCK = 3
# A feature is implied by another where the bound of P(other | feature) exceeds this, and the other is no dense feature, which all imply.
IMPLIED, DENSE = 0.8, 0.1
# Effective firings of a feature in a pair of which a conditional share is reported.
FEWEST = 10
# Splits: least cosine of decoders, largest bound of the share of tokens of either at which both fire, least overlap of kinds of tokens.
SPLIT_COSINE, SPLIT_TOGETHER, SPLIT_OVERLAP = 0.5, 0.1, 0.8
# Expected false splits in a dictionary of random directions.
ERROR = 0.05
FEW_DOCUMENTS = "There are too few documents to tell chance."


@dataclass(frozen=True, slots=True)
class Pair:
    """Two features that fire together more than by chance (5% false discoveries).

    phi       correlation of their firing, see `interp.health.cofiring.pairs.phi`; the interval is that of `share`, given how often each fires
    share     of the tokens of the rarer one, those at which the other fires too; Wilson's interval at the effective number of firings
    chance    the same by chance: the other one's density
    together  sampled tokens at which both fire
    q         the least false discovery rate at which the pair is significant
    """

    rarer: int
    other: int
    phi: Estimate
    share: Estimate
    chance: float
    together: int
    q: float


@dataclass(frozen=True, slots=True)
class Block:
    """Features that fire together: a connected component of three or more.

    Links are significant pairs with φ >= 0.5. `features` are the first 100 of `size`; `linked` is the share of its pairs that are linked. Trap: a
    chain of links makes a component too (single linkage): where `linked` is small, its ends need not fire together.
    """

    size: int
    linked: float
    features: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Implied:
    """A feature that fires only where another does.

    The lower bound of P(other | feature) is above 0.8, the pair is significant, the other's density at most 10%, and the other does not imply the
    feature. `chance` is the other's density. Trap: this is a hierarchy that both features show. In absorption (Chanin et al., arXiv 2409.14507) the
    general feature is *silent* where the special one fires: such pairs fire together less than by chance, and are found, if at all, among `Split`.
    """

    feature: int
    other: int
    share: Estimate
    chance: float
    q: float


@dataclass(frozen=True, slots=True)
class Split:
    """Near decoders that hardly fire together, on alike tokens: perhaps one concept.

    cosine    of the decoders, at least 0.5, and more than 0.05 pairs of the dictionary would have by chance
    together  of the tokens at which either fires, those at which both do: its upper bound is at most 0.1
    overlap   Σ over kinds of tokens of the smaller of the two features' shares of firings, at least 0.8

    Candidates are pairs of a feature and its nearest; both have 10 effective firings or more. Trap: kinds of tokens (upper case, digits, ...) are
    coarse, so that the same kind is not the same concept: `SplitReport.chance` says how many pairs pass by that alone.
    """

    first: int
    second: int
    cosine: float
    together: Estimate
    overlap: float


@dataclass(frozen=True, slots=True)
class SplitReport:
    """Candidates of splits: `candidates` pairs were looked at, with the least cosine `least_cosine`.

    `chance` is the share of random pairs of features that hardly fire together on the same kinds of tokens, whatever their cosine; None
    where none fires often enough.
    """

    candidates: int
    least_cosine: float
    count: int
    splits: tuple[Split, ...]
    chance: Estimate | None


@dataclass(frozen=True, slots=True)
class CofiringReport:
    """Firing of features together, at a sample of tokens.

    features     in the random subset whose pairs are all counted, beside each feature's pairs with its nearest
    tokens       sampled; `token_share` of all that count
    tests        pairs that were tested, and `significant` ones; `why` says why none was
    top          the 100 significant pairs of the largest φ
    blocks       the largest 100; `block_count` is their number
    implied      the 100 of the largest share; `implied_count` is their number
    composites   the 100 that are explained best; `composite_count` is their number, `composite_pairs` that of the pairs that were looked at,
                 beside those of each feature's nearest

    Errors count documents, not tokens: see `interp.health.cofiring.pairs.significant_pairs`.
    """

    features: int
    tokens: int
    token_share: float
    tests: int
    significant: int
    why: str | None
    top: tuple[Pair, ...]
    block_count: int
    blocks: tuple[Block, ...]
    implied_count: int
    implied: tuple[Implied, ...]
    splits: SplitReport
    composite_pairs: int
    composite_count: int
    composites: tuple[Composite, ...]


@dataclass(frozen=True)
class _Measured:
    """Significant pairs as columns `[P]`.

    Shares are of the first and second one's tokens, those at which the other fires, with bounds.
    """

    pairs: Pairs
    phi: Floats
    shares: tuple[Floats, Floats]
    bounds: tuple[tuple[Floats, Floats], tuple[Floats, Floats]]


def cofiring_report(counts: Counts, decoder: NDArray[np.float32], kinds: Ints) -> CofiringReport:
    """Return the figures of a `Cofiring`'s counts.

    `decoder` is float32 `[F, D]` of the whole dictionary; `kinds` int64 `[S, K]` are firings by kind of token (`Activity`'s `firing`).
    """
    margins, features = Margins.of(counts), counts.fixed["features"]
    unit = _unit(decoder[features])
    nothing = Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0))
    few = margins.groups < FEWEST_GROUPS
    pairs, tests = (nothing, 0) if few else significant_pairs(counts, margins)
    measured = _measure(pairs, margins)
    blocks, implied = _blocks(measured, features), _implied(measured, margins, features)
    composites = [] if few else found_composites(counts, margins, pairs, unit)
    return CofiringReport(
        features=len(counts.fixed["subset"]),
        tokens=margins.tokens,
        token_share=1 / counts.facts["stride"],
        tests=tests,
        significant=len(pairs),
        why=FEW_DOCUMENTS if few else None,
        top=_top(measured, margins, features),
        block_count=len(blocks),
        blocks=tuple(blocks[:LISTED]),
        implied_count=len(implied),
        implied=tuple(implied[:LISTED]),
        splits=_splits(counts, margins, unit, kinds),
        composite_pairs=min(len(pairs), PAIRS),
        composite_count=len(composites),
        composites=tuple(composites[:LISTED]),
    )


def _unit(decoder: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(decoder, axis=1, keepdims=True)
    found: NDArray[np.float32] = (decoder / np.where(norms > 0, norms, 1)).astype(np.float32)
    return found


def _measure(pairs: Pairs, margins: Margins) -> _Measured:
    first, second = margins.fired[pairs.first], margins.fired[pairs.second]
    effects = effects_of(margins, pairs.first, pairs.second)
    bounds = tuple(wilson_bounds(pairs.together, fired, effects, margins.groups) for fired in (first, second))
    return _Measured(
        pairs, phi(margins.tokens, first, second, pairs.together), (pairs.together / first, pairs.together / second), (bounds[0], bounds[1])
    )


def _top(measured: _Measured, margins: Margins, features: Ints) -> tuple[Pair, ...]:
    found = []
    for place in np.argsort(-measured.phi, kind="stable")[:LISTED]:
        rows = int(measured.pairs.first[place]), int(measured.pairs.second[place])
        rare = 0 if margins.fired[rows[0]] <= margins.fired[rows[1]] else 1
        rarer, other = rows[rare], rows[1 - rare]
        share = _estimate(measured, place, rare)
        # φ is a line in the tokens together, given how often each fires.
        ends = np.array([share.low, share.high]) * margins.fired[rarer]
        low, high = phi(margins.tokens, margins.fired[[rarer, rarer]], margins.fired[[other, other]], ends).tolist()
        found.append(
            Pair(
                int(features[rarer]),
                int(features[other]),
                Estimate(float(measured.phi[place]), low, high),
                share,
                float(margins.fired[other] / margins.tokens),
                int(measured.pairs.together[place]),
                float(measured.pairs.q[place]),
            )
        )
    return tuple(found)


def _estimate(measured: _Measured, place: int, side: int) -> Estimate:
    low, high = measured.bounds[side]
    return Estimate(float(measured.shares[side][place]), float(low[place]), float(high[place]))


def _blocks(measured: _Measured, features: Ints) -> list[Block]:
    linked = measured.pairs.select(measured.phi >= BLOCK_PHI)
    size = len(features)
    _, labels = connected_components(coo_matrix((np.ones(len(linked)), (linked.first, linked.second)), shape=(size, size)), directed=False)
    sizes, links = np.bincount(labels), np.bincount(labels[linked.first], minlength=labels.max(initial=-1) + 1)
    order = np.argsort(-sizes, kind="stable")
    return [
        Block(
            int(sizes[label]),
            float(links[label] / (sizes[label] * (sizes[label] - 1) / 2)),
            tuple(features[np.flatnonzero(labels == label)[:LISTED]].tolist()),
        )
        for label in order[sizes[order] >= SMALLEST_BLOCK]
    ]


def _implied(measured: _Measured, margins: Margins, features: Ints) -> list[Implied]:
    found = []
    rows = measured.pairs.first, measured.pairs.second
    for side in (0, 1):
        own, other = rows[side], rows[1 - side]
        enough = margins.fired[own] / effects_of(margins, own, other) >= FEWEST
        sparse = margins.fired[other] <= DENSE * margins.tokens
        chosen = enough & sparse & (measured.bounds[side][0] > IMPLIED) & (measured.bounds[1 - side][0] <= IMPLIED)
        for place in np.flatnonzero(chosen):
            chance = float(margins.fired[other[place]] / margins.tokens)
            share, q = _estimate(measured, int(place), side), float(measured.pairs.q[place])
            found.append(Implied(int(features[own[place]]), int(features[other[place]]), share, chance, q))
    return sorted(found, key=lambda one: (-one.share.low, one.feature, one.other))


def _splits(counts: Counts, margins: Margins, unit: NDArray[np.float32], kinds: Ints) -> SplitReport:
    features = counts.fixed["features"]
    first, second, together = near_pairs(counts)
    enough = _often(margins, first, second)
    first, second, together = first[enough], second[enough], together[enough]
    least = max(SPLIT_COSINE, cosine_by_chance(*unit.shape))
    cosines = np.einsum("pd,pd->p", unit[first], unit[second])
    overlaps, bounds = _overlaps(kinds, first, second), _together_bounds(margins, first, second, together)
    passing = (cosines >= least) & (bounds[1] <= SPLIT_TOGETHER) & (overlaps >= SPLIT_OVERLAP)
    places = np.flatnonzero(passing)
    places = places[np.argsort(-cosines[places], kind="stable")]
    either = margins.fired[first] + margins.fired[second] - together
    splits = tuple(
        Split(
            int(features[first[place]]),
            int(features[second[place]]),
            float(cosines[place]),
            Estimate(float(together[place] / either[place]), float(bounds[0][place]), float(bounds[1][place])),
            float(overlaps[place]),
        )
        for place in places[:LISTED]
    )
    return SplitReport(len(first), least, len(places), splits, _chance_of_split(counts, margins, kinds))


def cosine_by_chance(features: int, width: int) -> float:
    """Return a cosine that fewer than 0.05 pairs of random directions exceed.

    A share of at most e^(-D c² / 2) of directions has a cosine of c or more with a given one (Ball, An Elementary Introduction to Modern Convex
    Geometry, 1997, lecture 2). At 1 or above no cosine of this dictionary is beyond chance.
    """
    return float(np.sqrt(2 * np.log(max(features, 2) ** 2 / (2 * ERROR)) / width))


def _often(margins: Margins, first: Ints, second: Ints) -> NDArray[np.bool_]:
    effective = margins.fired / margins.effects
    found: NDArray[np.bool_] = (effective[first] >= FEWEST) & (effective[second] >= FEWEST)
    return found


def _together_bounds(margins: Margins, first: Ints, second: Ints, together: Floats) -> tuple[Floats, Floats]:
    either = margins.fired[first] + margins.fired[second] - together
    return wilson_bounds(together, either, np.maximum(margins.effects[first], margins.effects[second]), margins.groups)


def _overlaps(kinds: Ints, first: Ints, second: Ints) -> Floats:
    shares = kinds / np.maximum(kinds.sum(axis=1, keepdims=True), 1)
    found: Floats = np.minimum(shares[first], shares[second]).sum(axis=1)
    return found


def _chance_of_split(counts: Counts, margins: Margins, kinds: Ints) -> Estimate | None:
    """Return the share of random pairs that pass without regard to cosines."""
    # Members half the subset apart: a random sample in the order of the file, where neighbours may be alike.
    subset, together = counts.fixed["subset"], counts.sums["together"]
    half = len(subset) // 2
    first, second = subset[:half], subset[half : 2 * half]
    own = _often(margins, first, second)
    if not own.any():
        return None
    places = np.flatnonzero(own)
    bounds = _together_bounds(margins, first[own], second[own], together[places, places + half].astype(np.float64))
    share = float(((bounds[1] <= SPLIT_TOGETHER) & (_overlaps(kinds, first[own], second[own]) >= SPLIT_OVERLAP)).mean())
    return Estimate(share, *wilson(share, len(places), t_quantile(0.95, max(len(places) - 1, 1))))
