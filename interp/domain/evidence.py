"""Types of a feature's evidence, which collection writes and later stages read."""

from dataclasses import dataclass, field, fields
from enum import IntEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray


class Split(IntEnum):
    """Split of a document; explainers see EXPLAIN, scorers see TEST."""

    EXPLAIN = 0
    TEST = 1


class ContextKind(IntEnum):
    """Sample of a context; the feature fires in the ACTIVE_KINDS and not in the others."""

    TOP = 0
    UNIFORM = 1
    WEIGHTED = 2
    INACTIVE = 3
    NEAR_MISS = 4


ACTIVE_KINDS = (ContextKind.TOP, ContextKind.UNIFORM, ContextKind.WEIGHTED)

# Edges of each feature's histogram, fixed so that histograms of two runs can be added. 4 bins per octave from 2^-10 to 2^14;
# activations outside fall into the first and last bin. float64 [HISTOGRAM_BINS + 1].
HISTOGRAM_BINS = 96
HISTOGRAM_EDGES: NDArray[np.float64] = 2.0 ** (np.arange(HISTOGRAM_BINS + 1) / 4 - 10)

# A feature that fires in fewer windows of a split is rare.
FEWEST_WINDOWS = 5


@dataclass(frozen=True, slots=True)
class Contexts:
    """N windows of one feature, as columns, padded on the right to W tokens.

    tokens       uint32  [N, W]  token ids; 0 beyond `lengths`
    activations  float16 [N, W]  the feature's activation at each token; 0 beyond `lengths` and at special tokens
    lengths      uint16  [N]     real tokens in the window
    kinds        uint8   [N]     `ContextKind`
    splits       uint8   [N]     `Split`
    documents    uint64  [N]     identity of the document
    starts       uint32  [N]     offset of the window's first token in its document, counted in content tokens
    positions    uint16  [N]     offset of the window's first token in the row that the subject read (0: the row's BOS)
    left         uint32  [N, L]  token ids before the window in its row, aligned to the right; 0 where there are fewer
    left_lengths uint8   [N]     real tokens of `left`
    levels       float32 [N]     the feature's firing level, equal in all rows: it fires at activations above it

    A window in several samples (top and uniform, say) has one row for each. The left context is only for reading: it has no activations, enters no
    count or figure, and is never marked. Columns that are left out are empty (no left context) or 0 (the level).
    """

    tokens: NDArray[np.uint32]
    activations: NDArray[np.float16]
    lengths: NDArray[np.uint16]
    kinds: NDArray[np.uint8]
    splits: NDArray[np.uint8]
    documents: NDArray[np.uint64]
    starts: NDArray[np.uint32]
    positions: NDArray[np.uint16]
    left: NDArray[np.uint32] = field(default_factory=lambda: np.zeros((0, 0), np.uint32))
    left_lengths: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))
    levels: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    def __post_init__(self) -> None:
        count = len(self.lengths)
        for name in ("left", "left_lengths", "levels"):
            column = getattr(self, name)
            if len(column) == 0 < count:
                object.__setattr__(self, name, np.zeros((count, *column.shape[1:]), column.dtype))

    def __len__(self) -> int:
        return len(self.lengths)

    def select(self, keep: NDArray[np.bool_] | NDArray[np.intp]) -> "Contexts":
        """Return the rows of a boolean mask `[N]` or an index array, in that order."""
        return Contexts(*(getattr(self, column.name)[keep] for column in fields(self)))

    def of(self, split: Split, *kinds: ContextKind) -> "Contexts":
        """Return the contexts of one split, of the given kinds (default: all)."""
        keep = self.splits == split
        if kinds:
            keep &= np.isin(self.kinds, kinds)
        return self.select(keep)

    def maxima(self) -> NDArray[np.float32]:
        """Return the largest activation at a token of each window, float32 [N]; 0 without tokens."""
        lowest = np.float16(-np.inf)
        largest = np.where(self.valid(), self.activations, lowest).max(axis=1, initial=lowest)
        return np.where(self.lengths > 0, largest, 0).astype(np.float32)

    def fires(self) -> NDArray[np.bool_]:
        """Return whether the feature fires somewhere in each window, bool [N]."""
        above: NDArray[np.bool_] = (self.maxima() > self.levels) & (self.lengths > 0)
        return above

    def fires_at(self) -> NDArray[np.bool_]:
        """Return the tokens at which the feature fires, bool [N, W]."""
        above: NDArray[np.bool_] = (self.activations > self.levels[:, None]) & self.valid()
        return above

    def left_tokens(self, row: int) -> list[int]:
        """Return the token ids before a window in its row, in text order."""
        ids: list[int] = self.left[row, self.left.shape[1] - int(self.left_lengths[row]) :].tolist()
        return ids

    def valid(self) -> NDArray[np.bool_]:
        """Return a mask of the real tokens, bool [N, W]."""
        return np.arange(self.tokens.shape[1])[None, :] < self.lengths[:, None]

    def identities(self) -> list[str]:
        """Return document and start of each context as its name; samples may share windows."""
        return [f"{document:016x}:{start}" for document, start in zip(self.documents, self.starts, strict=True)]


@dataclass(frozen=True, slots=True)
class Statistics:
    """Exact counts of a feature, without special tokens.

    Pairs are (explain, test). `firing_level` is the activation above which the feature fires, and a token or window is active: 0 in a sparse
    dictionary. `mean_active` is the mean activation over active tokens; 0.0 for a dead feature. Of imported records, which are not a whole corpus,
    `tokens_seen` and `windows_seen` are 0, and shares and means are unknown.
    """

    tokens_seen: int
    tokens_active: int
    windows_seen: tuple[int, int]
    windows_active: tuple[int, int]
    max_activation: float
    mean_active: float
    firing_level: float = 0.0

    @property
    def density(self) -> float:
        """Return the share of tokens at which the feature fires."""
        return self.tokens_active / self.tokens_seen if self.tokens_seen else 0.0

    def window_density(self, split: Split) -> float:
        """Return the share of a split's windows in which the feature fires, the base rate."""
        return self.windows_active[split] / self.windows_seen[split] if self.windows_seen[split] else 0.0

    @property
    def is_dead(self) -> bool:
        return self.tokens_active == 0 and self.tokens_seen > 0

    @property
    def state(self) -> Literal["active", "rare", "dead"]:
        """Return the state; a rare feature fires in fewer than FEWEST_WINDOWS windows of a split."""
        if self.is_dead:
            return "dead"
        return "rare" if min(self.windows_active) < FEWEST_WINDOWS else "active"


@dataclass(frozen=True, slots=True)
class TokenEffect:
    """A vocabulary token and the change of its logit by the feature's decoder direction."""

    token: int
    logit: float


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another feature of the dictionary and the cosine of the two decoder directions."""

    feature: int
    cosine: float


@dataclass(frozen=True, slots=True)
class FeatureEvidence:
    """Evidence of one feature; `histogram` int64 [HISTOGRAM_BINS] has active tokens by activation."""

    feature: int
    statistics: Statistics
    histogram: NDArray[np.int64]
    contexts: Contexts
    promoted: tuple[TokenEffect, ...]
    suppressed: tuple[TokenEffect, ...]
    nearest: tuple[Neighbour, ...]

    def quantile(self, share: float) -> float | None:
        """Return the quantile of activations (the geometric middle of its bin); None for dead features."""
        total = int(self.histogram.sum())
        if total == 0:
            return None
        bin_index = int(np.searchsorted(np.cumsum(self.histogram), share * total, side="left"))
        bin_index = min(bin_index, HISTOGRAM_BINS - 1)
        return float(np.sqrt(HISTOGRAM_EDGES[bin_index] * HISTOGRAM_EDGES[bin_index + 1]))
