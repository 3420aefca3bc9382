"""What a collection holds in memory: bounded by features, contexts and window, whatever the number of tokens."""

from dataclasses import dataclass

from interp.collect.reservoir import room_for
from interp.domain.evidence import ACTIVE_KINDS, HISTOGRAM_BINS, ContextKind
from interp.domain.spec import CollectionSpec, SplitCounts

KEY, ACTIVATION, COUNT, FLOAT = 8, 2, 8, 4
# Of each feature and window of a batch while reservoirs fill: priorities of two silent kinds, 64-bit keys as they are made, and masks.
SILENT = 34
# Of all windows of a batch, how many a feature fires in, taken high; each is held three times on its way into the reservoirs.
FIRING, COPIES = 0.1, 3
CODES = 1 << 28  # pre-activations that a TopK dictionary makes at once, see `interp.collect.encode.CodeEncoder`


@dataclass(frozen=True, slots=True)
class Extent:
    """A dictionary, as far as memory goes: F features, D wide. TopK ones have no encoder of their own, but choose among all features.

    `dense`: features have firing levels, and silent windows keep their activations.
    """

    n_features: int
    d_in: int
    topk: bool = False
    dense: bool = False


def reservoir_bytes(features: int, spec: CollectionSpec, dense: bool = False) -> int:
    """Bytes of all reservoirs: features * sum over samples of (kept + waiting) * (8 + 2 * window where the sample is of active windows).

    With the default settings 424 entries per feature, 224 of them with activations: 18 KB per feature; 31 KB of dense dictionaries.
    """
    return features * sum(_entry_bytes(kind, counts, spec.window, dense, waits=True) for counts in (spec.explain, spec.test) for kind in ContextKind)


def partial_bytes(features: int, spec: CollectionSpec, dense: bool = False) -> int:
    """Bytes of a partial result, in memory and as a file: what the reservoirs keep, and counts. 8 KB a feature with the default settings."""
    kept = sum(_entry_bytes(kind, counts, spec.window, dense, waits=False) for counts in (spec.explain, spec.test) for kind in ContextKind)
    return features * (kept + (HISTOGRAM_BINS + 4) * COUNT + 2 * FLOAT)


def collection_bytes(features: int, of: Extent, spec: CollectionSpec) -> int:
    """Bytes of all that grows with features or with a batch, while `features` of a dictionary are collected: about, and rather too many.

    Reservoirs and the result made of them, counts, the encoder's copy of its weights (with the neighbours that near misses need, and that may all
    be other features), and what a batch of windows takes on its way. Subject and dictionary themselves do not count.
    """
    encoded = min(of.n_features, features * (1 + spec.near_miss_neighbours))
    windows = spec.batch_tokens // spec.window
    counts = features * (HISTOGRAM_BINS + 3) * COUNT
    weights = 2 * min(of.n_features * of.d_in * FLOAT, CODES * FLOAT) if of.topk else encoded * of.d_in * FLOAT
    maxima = encoded * windows * FLOAT
    passing = features * windows * (SILENT + int(FIRING * COPIES * spec.window * FLOAT))
    stages = 2 * spec.batch_tokens * of.d_in * FLOAT
    everything = features * spec.batch_tokens * ACTIVATION * of.dense
    held = reservoir_bytes(features, spec, of.dense) + partial_bytes(features, spec, of.dense)
    return held + counts + weights + maxima + passing + stages + everything


def features_at_once(room: int, of: Extent, spec: CollectionSpec) -> int:
    """How many features of a dictionary can be collected in `room` bytes; 0 when not one can."""
    low, high = 0, of.n_features
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if collection_bytes(middle, of, spec) <= room else (low, middle - 1)
    return low


def _entry_bytes(kind: ContextKind, counts: SplitCounts, window: int, dense: bool, *, waits: bool) -> int:
    kept: int = getattr(counts, kind.name.lower())
    return (kept + room_for(kept) * waits) * (KEY + (ACTIVATION * window if dense or kind in ACTIVE_KINDS else 0))
