"""Whose explanations stand in for a feature's own: features alike in density and length of label."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# The nulls are drawn from so many times as many nearest features: matched, and yet not the same few for all.
POOL = 4
LEAST_POOL = 60
FEATURES_AT_ONCE = 4096


def choose_nulls(features: Sequence[int], densities: NDArray[np.float64], lengths: NDArray[np.int64], count: int, seed: int) -> list[tuple[int, ...]]:
    """For each feature `count` others (fewer when there are not so many), never itself, drawn by `seed` from those most like it.

    densities float64 [F], lengths int64 [F] (characters of the label) belong to `features` [F]. Likeness is distance in the ranks of both, density
    counting twice: a borrowed rule that fires as often as the own one is the fair comparison, and long labels win with lenient judges.
    Which nulls a feature gets depends on the set of features given and the seed, not on their order. Memory is O(F).
    Features that mean the same are not told apart: one that is drawn raises the null and with it the p value, which errs on the safe side.
    """
    total = len(features)
    wanted = min(count, total - 1)
    if wanted <= 0:
        return [() for _ in features]
    ids = np.asarray(features, dtype=np.int64)
    places = np.stack([2 * _ranks(np.asarray(densities, dtype=np.float64), ids), _ranks(np.asarray(lengths, dtype=np.float64), ids)], axis=1)
    order = np.argsort(ids, kind="stable")
    # A quarter of a second to import: only what plans scores needs it.
    from scipy.spatial import cKDTree

    tree = cKDTree(places[order])
    near = min(max(POOL * wanted, LEAST_POOL), total - 1) + 1
    chosen: list[tuple[int, ...]] = []
    for start in range(0, total, FEATURES_AT_ONCE):
        _, found = tree.query(places[start : start + FEATURES_AT_ONCE], k=near)
        for feature, row in zip(ids[start : start + FEATURES_AT_ONCE], ids[order][np.asarray(found)], strict=True):
            pool = np.sort(row[row != feature])
            draw = np.random.default_rng((seed, int(feature))).choice(pool, size=wanted, replace=False)
            chosen.append(tuple(int(other) for other in np.sort(draw)))
    return chosen


def _ranks(values: NDArray[np.float64], ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """Ranks from 0 to 1, equal values in the order of `ids`."""
    ranks = np.empty(len(values))
    ranks[np.lexsort((ids, values))] = np.arange(len(values))
    return ranks / max(len(values) - 1, 1)
