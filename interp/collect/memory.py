"""What a collection holds in memory: bounded by features, contexts and window, whatever the number of tokens."""

from interp.collect.reservoir import room_for
from interp.evidence import ACTIVE_KINDS, HISTOGRAM_BINS, Kind
from interp.spec import CollectionSpec, SplitCounts

KEY, ACTIVATION, COUNT, FLOAT = 8, 2, 8, 4


def reservoir_bytes(features: int, spec: CollectionSpec) -> int:
    """Bytes of all reservoirs: features * sum over samples of (kept + waiting) * (8 + 2 * window where the sample is of active windows).

    With the default settings 424 entries a feature, 224 of them with activations: 18 KB a feature.
    """
    return features * sum(_entry_bytes(kind, counts, spec.window) for counts in (spec.explain, spec.test) for kind in Kind)


def collection_bytes(features: int, width: int, spec: CollectionSpec) -> int:
    """Bytes of what grows with features or with a batch: reservoirs, counts, encoder weights, window maxima, and two stages of a batch."""
    counts = features * (HISTOGRAM_BINS + 3) * COUNT
    weights = features * width * FLOAT
    maxima = features * (spec.batch_tokens // spec.window) * FLOAT
    stages = 2 * spec.batch_tokens * width * FLOAT
    return reservoir_bytes(features, spec) + counts + weights + maxima + stages


def _entry_bytes(kind: Kind, counts: SplitCounts, window: int) -> int:
    kept: int = getattr(counts, kind.name.lower())
    return (kept + room_for(kept)) * (KEY + (ACTIVATION * window if kind in ACTIVE_KINDS else 0))
