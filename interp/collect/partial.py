"""Partial evidence: the mergeable counts and samples of one shard."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from interp.domain.evidence import ContextKind, Split

Sample = tuple[ContextKind, Split]


@dataclass(frozen=True)
class Partial:
    """Partial evidence of S features from some documents; k windows per sample.

    origin          corpus, settings and seed that it depends on: only partials of one origin merge
    features        int64   [S]
    windows_seen    per split
    windows_active  int64   [S, 2]
    histogram       int64   [S, HISTOGRAM_BINS]
    sums            int64   [S]             activations, see `interp.collect.feature_counts`
    maxima          float32 [S]
    levels          float32 [S]             firing levels
    keys            int64   [S, k] per sample, descending, see `interp.collect.reservoir`
    activations     float16 [S, k, window] per sample of active windows; of silent ones too where any feature has a firing level above 0
    """

    origin: str
    features: NDArray[np.int64]
    tokens_seen: int
    windows_seen: tuple[int, int]
    windows_active: NDArray[np.int64]
    histogram: NDArray[np.int64]
    sums: NDArray[np.int64]
    maxima: NDArray[np.float32]
    levels: NDArray[np.float32]
    keys: dict[Sample, NDArray[np.int64]]
    activations: dict[Sample, NDArray[np.float16]]

    def __len__(self) -> int:
        return len(self.features)


def merge(parts: Iterable[Partial]) -> Partial:
    """Merge partials of disjoint documents, as if collected at once: associative and commutative.

    Of a generator two parts are in memory at a time. Raises ValueError for no parts, and for parts of different origins or features.
    """
    remaining = iter(parts)
    first = next(remaining, None)
    if first is None:
        raise ValueError("there is nothing to merge")
    return reduce(_merge_two, remaining, first)


def _merge_two(one: Partial, other: Partial) -> Partial:
    if one.origin != other.origin or not np.array_equal(one.features, other.features) or not np.array_equal(one.levels, other.levels):
        raise ValueError("partials of different corpora, settings, features or firing levels do not merge")
    keys: dict[Sample, NDArray[np.int64]] = {}
    activations: dict[Sample, NDArray[np.float16]] = {}
    for sample, mine in one.keys.items():
        both = np.concatenate([mine, other.keys[sample]], axis=1)
        order = np.argsort(~both, axis=1)[:, : mine.shape[1]]  # ~x reverses the order of int64, where -x would overflow
        keys[sample] = np.take_along_axis(both, order, axis=1)
        if sample in one.activations:
            values = np.concatenate([one.activations[sample], other.activations[sample]], axis=1)
            activations[sample] = values[np.arange(len(values))[:, None], order]
    return replace(
        one,
        tokens_seen=one.tokens_seen + other.tokens_seen,
        windows_seen=(one.windows_seen[0] + other.windows_seen[0], one.windows_seen[1] + other.windows_seen[1]),
        windows_active=one.windows_active + other.windows_active,
        histogram=one.histogram + other.histogram,
        sums=one.sums + other.sums,
        maxima=np.maximum(one.maxima, other.maxima),
        keys=keys,
        activations=activations,
    )
