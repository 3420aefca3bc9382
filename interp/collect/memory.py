"""Memory of a collection, bounded by features, contexts and window, not by tokens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from interp.collect.reservoir import waiting_slots
from interp.domain.evidence import ACTIVE_KINDS, HISTOGRAM_BINS, ContextKind
from interp.domain.spec import CollectionSpec

KEY, ACTIVATION, COUNT, FLOAT = 8, 2, 8, 4
# Per feature and window of a batch while reservoirs fill: priorities of two silent kinds, 64-bit keys and masks.
SILENT = 34
# Largest share of a batch's windows in which a feature fires; each is copied three times before it is in the reservoirs.
FIRING, COPIES = 0.1, 3
# Tokens a batch to choose from on a GPU, the most first, and numbers of a forward pass per token and axis of the hook point: three of an MLP four
# times as wide, and the residual stream and attention's scores as much again.
GPU_BATCH_TOKENS, FORWARD = tuple(1 << power for power in range(16, 10, -1)), 32
# Most passes of the corpus through the subject: one per group of features.
MOST_GROUPS = 64
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


# Numbers of features to collect, each of a dictionary.
Parts = Sequence[tuple[int, Extent]]


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
    windows = spec.tokens_at_once // spec.window
    counts = features * (HISTOGRAM_BINS + 3) * COUNT
    weights = 2 * min(of.n_features * of.d_in * FLOAT, CODES * FLOAT) if of.topk else encoded * of.d_in * FLOAT
    maxima = encoded * windows * FLOAT
    passing = features * windows * (SILENT + int(FIRING * COPIES * spec.window * FLOAT))
    buffers = 2 * spec.tokens_at_once * of.d_in * FLOAT
    activations = features * spec.tokens_at_once * ACTIVATION * of.dense
    held = reservoir_bytes(features, spec, of.dense) + partial_bytes(features, spec, of.dense)
    return held + counts + weights + maxima + passing + buffers + activations


def forward_bytes(of: Extent, tokens: int) -> int:
    """Estimate, generously, the temporaries of a forward pass over `tokens` tokens."""
    return FORWARD * tokens * of.d_in * FLOAT


def fewest_groups(nbytes: int, parts: Parts, spec: CollectionSpec) -> int | None:
    """Return the fewest groups, equal parts of every dictionary, of which one fits; else None."""
    return next((groups for groups in range(1, MOST_GROUPS + 1) if group_bytes(groups, parts, spec) <= nbytes), None)


def group_bytes(groups: int, parts: Parts, spec: CollectionSpec) -> int:
    """Return the bytes of collecting one of `groups` groups."""
    return sum(collection_bytes(-(-features // groups), of, spec) for features, of in parts)


def gpu_batch_tokens(room: Callable[[CollectionSpec], int], parts: Parts, spec: CollectionSpec) -> int:
    """Return `auto`'s tokens a batch, on a GPU with `room` for collection, in bytes.

    It is the largest number that cuts the features into the fewest groups, since each group is a pass over the corpus.
    """
    needed = {}
    for tokens in GPU_BATCH_TOKENS:
        batched = spec.in_batches_of(tokens)
        needed[tokens] = fewest_groups(room(batched) - max(forward_bytes(of, tokens) for _, of in parts), parts, batched)
    fit = [tokens for tokens in GPU_BATCH_TOKENS if needed[tokens]]
    return min(fit, key=lambda tokens: needed[tokens] or 0, default=GPU_BATCH_TOKENS[-1])


def _entries_bytes(spec: CollectionSpec, dense: bool, slots: Callable[[int], int]) -> int:
    return sum(
        slots(counts.of(kind)) * (KEY + (ACTIVATION * spec.window if dense or kind in ACTIVE_KINDS else 0))
        for counts in (spec.explain, spec.test)
        for kind in ContextKind
    )
