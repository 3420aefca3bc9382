"""Memory of a collection, bounded by features, contexts and window, not by tokens."""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

from interp.collect.reservoir import waiting_slots
from interp.domain.evidence import ACTIVE_KINDS, HISTOGRAM_BINS, ContextKind
from interp.domain.spec import CollectionSpec

KEY, ACTIVATION, COUNT, FLOAT = 8, 2, 8, 4
# Per feature and window of a batch while reservoirs fill: priorities of two silent kinds, 64-bit keys and masks.
SILENT = 34
# Largest share of a batch's windows in which a feature fires; each is copied three times before it is in the reservoirs.
FIRING, COPIES = 0.1, 3
CODES = 1 << 28  # pre-activations that a TopK dictionary computes at once, see `interp.collect.encode.TopKEncoder`


@dataclass(frozen=True, slots=True)
class Extent:
    """Sizes of a dictionary that decide memory; TopK encodes all features to choose among them.

    `dense`: features have firing levels, and silent windows keep their activations.
    """

    n_features: int
    d_in: int
    topk: bool = False
    dense: bool = False


def reservoir_bytes(features: int, spec: CollectionSpec, dense: bool = False) -> int:
    """Return the bytes of all reservoirs (default settings: 18 KB/feature, 31 KB in dense dictionaries).

    They are features * sum over samples of (kept + waiting) * (8 + 2 * window where activations are kept).
    """
    return features * _entries_bytes(spec, dense, lambda kept: kept + waiting_slots(kept))


def partial_bytes(features: int, spec: CollectionSpec, dense: bool = False) -> int:
    """Return the bytes of partial evidence, in memory or a file (default settings: 8 KB/feature)."""
    return features * (_entries_bytes(spec, dense, lambda kept: kept) + (HISTOGRAM_BINS + 4) * COUNT + 2 * FLOAT)


def collection_bytes(features: int, of: Extent, spec: CollectionSpec) -> int:
    """Estimate, generously, the bytes of a collection without subject and dictionary.

    They are reservoirs and their results, counts, the encoder's copy of its weights (with the neighbours that near misses need, which may all be
    other features), and the temporaries of a batch of windows.
    """
    encoded = min(of.n_features, features * (1 + spec.near_miss_neighbours))
    windows = spec.batch_tokens // spec.window
    counts = features * (HISTOGRAM_BINS + 3) * COUNT
    weights = 2 * min(of.n_features * of.d_in * FLOAT, CODES * FLOAT) if of.topk else encoded * of.d_in * FLOAT
    maxima = encoded * windows * FLOAT
    passing = features * windows * (SILENT + int(FIRING * COPIES * spec.window * FLOAT))
    buffers = 2 * spec.batch_tokens * of.d_in * FLOAT
    activations = features * spec.batch_tokens * ACTIVATION * of.dense
    held = reservoir_bytes(features, spec, of.dense) + partial_bytes(features, spec, of.dense)
    return held + counts + weights + maxima + passing + buffers + activations


def features_at_once(nbytes: int, of: Extent, spec: CollectionSpec) -> int:
    """Return the number of features that can be collected in `nbytes`; 0 for none."""
    return bisect_right(range(1, of.n_features + 1), nbytes, key=lambda features: collection_bytes(features, of, spec))


def _entries_bytes(spec: CollectionSpec, dense: bool, slots: Callable[[int], int]) -> int:
    return sum(
        slots(counts.of(kind)) * (KEY + (ACTIVATION * spec.window if dense or kind in ACTIVE_KINDS else 0))
        for counts in (spec.explain, spec.test)
        for kind in ContextKind
    )
