"""Choose nulls: features with similar density and label length, but no twins."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.domain.evidence import Neighbour

# Nulls are drawn from this multiple of nearest features: similar, but not the same few for all.
POOL_FACTOR = 4
MIN_POOL = 60
FEATURES_AT_ONCE = 4096
# Decoder cosine from which on a feature is no null of another. Parts of a split feature lie at 0.4 and above.
# Unrelated directions in some hundreds of dimensions lie within 0.15.
TWIN_COSINE = 0.4


def twins_of(nearest: Iterable[Neighbour]) -> frozenset[int]:
    """Return the features whose explanations may fit, too, by decoder cosine."""
    return frozenset(neighbour.feature for neighbour in nearest if neighbour.cosine >= TWIN_COSINE)


def bound_of(nearest: Iterable[Neighbour], seed: int) -> dict[str, Any]:
    """Return the twin bound, the twins and the seed, for a score's provenance."""
    return {"twin_cosine": TWIN_COSINE, "twins": sorted(twins_of(nearest)), "seed": seed}


def choose_nulls(
    features: Sequence[int],
    densities: NDArray[np.float64],
    lengths: NDArray[np.int64],
    count: int,
    seed: int,
    twins: Mapping[int, Collection[int]] | None = None,
    of: Sequence[int] | None = None,
) -> list[tuple[int, ...]]:
    """Return `count` similar features per feature, drawn by `seed`, without its `twins`.

    densities float64 [F] and lengths int64 [F] (characters of the label) belong to `features` [F]. Those in `of` (default: all) get nulls, in that
    order, fewer than `count` where there are fewer. Likeness is distance in the ranks of both, with density counting twice. A null that fires as
    often is the fair comparison, and lenient judges prefer long labels. A feature's nulls depend on the set of features, its twins and the seed, not
    on their order. Memory is O(F). Raises KeyError on a feature in `of` that is not in `features`.
    """
    wanted, excluded = list(features if of is None else of), twins or {}
    if len(features) < 2 or count <= 0:
        return [() for _ in wanted]
    ids = np.asarray(features, dtype=np.int64)
    places = np.stack([2 * _ranks(np.asarray(densities, dtype=np.float64), ids), _ranks(np.asarray(lengths, dtype=np.float64), ids)], axis=1)
    order = np.argsort(ids, kind="stable")
    # Imported here since it takes 0.25 s, and only the planning of scores needs it.
    from scipy.spatial import cKDTree

    tree = cKDTree(places[order])
    place_of = {int(feature): place for place, feature in enumerate(ids)}
    pool_size = max(POOL_FACTOR * count, MIN_POOL)
    near = min(pool_size + max((len(excluded.get(feature, ())) for feature in wanted), default=0), len(ids) - 1) + 1
    chosen: list[tuple[int, ...]] = []
    for start in range(0, len(wanted), FEATURES_AT_ONCE):
        some = wanted[start : start + FEATURES_AT_ONCE]
        _, found = tree.query(places[[place_of[feature] for feature in some]], k=near)
        for feature, row in zip(some, ids[order][np.asarray(found)], strict=True):
            others = row[~np.isin(row, [feature, *excluded.get(feature, ())])]
            pool = np.sort(others[:pool_size])
            draw = np.random.default_rng((seed, int(feature))).choice(pool, size=min(count, len(pool)), replace=False)
            chosen.append(tuple(int(other) for other in np.sort(draw)))
    return chosen


def _ranks(values: NDArray[np.float64], ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return ranks from 0 to 1, equal values in the order of `ids`."""
    ranks = np.empty(len(values))
    ranks[np.lexsort((ids, values))] = np.arange(len(values))
    return ranks / max(len(values) - 1, 1)
