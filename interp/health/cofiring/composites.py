"""Composite features: decoders that are nearly a sum of two others'."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from interp.health.cofiring.pairs import Floats, Ints, Margins, Pairs, phi
from interp.health.counts import Counts

# Least share of a decoder's squared norm in the span of two others, and the most of what the nearer leaves that the other may leave.
EXPLAINED, LEFT = 0.8, 0.5
# Pairs that are tried with every feature: those of the largest correlations.
PAIRS, AT_ONCE = 1024, 64
# Effective firings of a feature and its parts, where the parts need not fire together.
FEWEST = 10
# From this condition number on, the parts of a sum are not told apart (Belsley, Kuh and Welsch, Regression Diagnostics, 1980: 5 to 10 are weak
# dependencies, 30 and more strong ones).
CONDITION = 10.0
# Expected false composites in a dictionary of random directions, of those of correlated pairs and of those of nearest features.
ERROR = 0.05


@dataclass(frozen=True, slots=True)
class Composite:
    """A feature whose decoder is nearly a sum of two others'.

    weights    of the two unit directions, both positive: the non-negative least squares of the unit decoder (Lawson and Hanson, Solving Least Squares
               Problems, 1974), in closed form for two
    explained  share of the squared norm in the sum, at least 0.8: 1 - residual
    nearer     the same of the nearer one alone. The other halves, or more, what that leaves, and leaves less than a random direction would in 0.05 of
               all trials, see `most_left`
    condition  condition number of the two directions, √((1 + |cos|) / (1 - |cos|)). Trap: from 10 on (`collinear`) the weights are not told apart
    phi        correlation of the two parts' firing
    beside     share of the feature's tokens at which a part fires, mean of the two. Near 1 it fires beside its parts, near 0 in their place

    `phi` and `beside` are None where the pairs were not counted.
    """

    feature: int
    parts: tuple[int, int]
    weights: tuple[float, float]
    explained: float
    nearer: float
    condition: float
    collinear: bool
    phi: float | None
    beside: float | None


@dataclass(frozen=True)
class _Trials:
    """Trials of features `[N]` as sums of two others.

    All are rows int64; `left` is the share of the residual that chance leaves.
    """

    rows: Ints
    first: Ints
    second: Ints
    left: float


def found_composites(counts: Counts, margins: Margins, pairs: Pairs, unit: NDArray[np.float32]) -> list[Composite]:
    """Return the composites among correlated pairs and nearest features, best explained first.

    Every feature is tried as a sum of each pair of the largest correlations: a sum that fires beside its parts. Each is tried as a sum of two of its
    nearest, too, whether they fire together or not: a sum may keep its parts silent (https://arxiv.org/abs/2409.14507 calls that absorption).
    """
    correlation = phi(margins.tokens, margins.fired[pairs.first], margins.fired[pairs.second], pairs.together)
    chosen = np.argsort(-correlation, kind="stable")[:PAIRS]
    found: dict[tuple[int, int, int], Composite] = {}
    for trials in (*_of_pairs(pairs.first[chosen], pairs.second[chosen], unit), _of_nearest(counts, margins, unit)):
        for one in _sums(trials, counts, margins, unit):
            found.setdefault((one.feature, *one.parts), one)
    return sorted(found.values(), key=lambda one: (-one.explained, one.feature, one.parts))


def _of_pairs(first: Ints, second: Ints, unit: NDArray[np.float32]) -> list[_Trials]:
    left, trials = most_left(len(first) * len(unit), unit.shape[1]), []
    for start in range(0, len(first), AT_ONCE):
        some = slice(start, start + AT_ONCE)
        rows, own = _near_sums(unit, first[some], second[some])
        trials.append(_Trials(rows, first[some][own], second[some][own], left))
    return trials


def _of_nearest(counts: Counts, margins: Margins, unit: NDArray[np.float32]) -> _Trials:
    """Return each feature with every two of its nearest, where all fire often enough."""
    neighbours, count = counts.fixed["neighbours"], len(unit)
    often = np.append(margins.fired / margins.effects >= FEWEST, False)
    near = np.minimum(neighbours, count)
    places = np.array(list(combinations(range(near.shape[1]), 2)), dtype=np.int64).reshape(-1, 2)
    rows = np.repeat(np.arange(count), len(places))
    first, second = near[:, places[:, 0]].reshape(-1), near[:, places[:, 1]].reshape(-1)
    kept = often[rows] & often[first] & often[second]
    # The nearer part may be any of the nearest, the other any feature at all: more trials than are made, since these are near, too.
    return _Trials(rows[kept], first[kept], second[kept], most_left(count * near.shape[1] * count, unit.shape[1]))


def _sums(trials: _Trials, counts: Counts, margins: Margins, unit: NDArray[np.float32]) -> list[Composite]:
    rows, first, second = trials.rows, trials.first, trials.second
    # In double precision: parts that are nearly one direction amplify rounding.
    one, other, target = unit[first].astype(np.float64), unit[second].astype(np.float64), unit[rows].astype(np.float64)
    between = (one * other).sum(axis=1)
    cosines = np.stack([(target * one).sum(axis=1), (target * other).sum(axis=1)], axis=1)
    weights, explained = sums_of_two(cosines, between)
    nearer = np.maximum(cosines, 0).max(axis=1, initial=0) ** 2
    is_sum = (weights > 0).all(axis=1) & (explained >= EXPLAINED) & (1 - explained <= trials.left * (1 - nearer)) & (rows != first) & (rows != second)
    conditions = np.sqrt((1 + abs(between)) / np.maximum(1 - abs(between), 1e-12))
    features, found = counts.fixed["features"], []
    for at in np.flatnonzero(is_sum):
        feature, parts = rows[at], sorted(((first[at], weights[at, 0]), (second[at], weights[at, 1])))
        (low, low_weight), (high, high_weight) = parts
        shares = [_together(counts, feature, part) for part in (low, high)]
        both = _together(counts, low, high)
        found.append(
            Composite(
                feature=int(features[feature]),
                parts=(int(features[low]), int(features[high])),
                weights=(float(low_weight), float(high_weight)),
                explained=float(explained[at]),
                nearer=float(nearer[at]),
                condition=float(conditions[at]),
                collinear=bool(conditions[at] >= CONDITION),
                phi=None if both is None else float(phi(margins.tokens, margins.fired[[low]], margins.fired[[high]], np.array([both]))[0]),
                beside=None if None in shares or not margins.fired[feature] else float(np.mean(shares) / margins.fired[feature]),  # type: ignore[arg-type]
            )
        )
    return found


def _together(counts: Counts, first: int, second: int) -> float | None:
    """Return the sampled tokens at which two features fire, if the pair was counted."""
    for row, other in ((first, second), (second, first)):
        places = np.flatnonzero(counts.fixed["neighbours"][row] == other)
        if len(places):
            return float(counts.sums["near"][row, places[0]])
    subset = counts.fixed["subset"]
    places = np.searchsorted(subset, sorted((first, second)))
    if places[1] < len(subset) and subset[places].tolist() == sorted((first, second)):
        return float(counts.sums["together"][places[0], places[1]])
    return None


def _near_sums(unit: NDArray[np.float32], first: Ints, second: Ints) -> tuple[Ints, Ints]:
    """Return rows and pairs int64 `[N]` whose sum may explain `EXPLAINED`, up to rounding."""
    one, other = unit @ unit[first].T, unit @ unit[second].T
    between = (unit[first] * unit[second]).sum(axis=1)
    rest = 1 - between**2
    # Of nearly equal or opposed directions no sum is more than one of them.
    positive = (one > between * other) & (other > between * one) & (rest > 1e-4)
    rows, places = np.nonzero(positive & (one**2 + other**2 - 2 * between * one * other >= (EXPLAINED - 0.01) * rest))
    return rows, places


def sums_of_two(cosines: Floats, between: Floats) -> tuple[Floats, Floats]:
    """Return non-negative weights float64 `[N, 2]`, and the explained shares `[N]`, of two directions.

    `cosines` `[N, 2]` are of unit vectors with two unit directions, whose own cosines are `between` `[N]`.
    """
    free = (cosines - between[:, None] * cosines[:, ::-1]) / np.maximum(1 - between**2, 1e-12)[:, None]
    # Where the free minimum is not positive, the best is on an edge: the better direction alone, if any.
    alone = np.zeros_like(cosines)
    np.put_along_axis(alone, cosines.argmax(axis=1)[:, None], np.maximum(cosines.max(axis=1, keepdims=True), 0), axis=1)
    weights = np.where((free > 0).all(axis=1, keepdims=True), free, alone)
    return weights, (2 * weights * cosines).sum(axis=1) - (weights**2).sum(axis=1) - 2 * between * weights.prod(axis=1)


def most_left(trials: int, width: int) -> float:
    """Return the least residual by chance, as a share, of so many trials.

    Fewer than 0.05 random directions leave less. Of what a direction leaves of a vector in D dimensions a random one leaves a share x <= 1/2 or less
    with probability at most x^((D - 2) / 2): its squared cosine with that remainder, in D - 1 dimensions, has the distribution
    Beta(1 / 2, (D - 2) / 2). Two directions span all of two dimensions.
    """
    return min(LEFT, float((ERROR / max(2 * trials, 1)) ** (2 / (width - 2)))) if width > 2 else 0.0
