"""Firing of features at tokens, with each token's kind and its document's group."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interp.collect.hashing import mix
from interp.collect.layout import Layout
from interp.collect.observer import Firing
from interp.collect.window_batches import Windows
from interp.corpus.tokenized import TokenizedCorpus
from interp.health.token_classes import TokenClasses

# Groups of whole documents, by a hash: standard errors of sums over documents, in memory that no corpus exceeds. Source: random groups, Wolter
# (Introduction to Variance Estimation, 2007, ch. 2). Two documents of one group cost a degree of freedom and nothing else.
GROUPS = 128
NOT_COUNTED = -1


@dataclass(frozen=True)
class FiringBatch:
    """N firings, unordered, at n tokens of one batch.

    features int64 [N]  rows of the collected features
    cells    int64 [N]  which of the n tokens
    kinds    int64 [n]  of `TokenKinds`; `NOT_COUNTED` at padding and at tokens that no figure counts
    groups   int64 [n]  of the token's document, below `GROUPS`
    picks    int64 [n]  a hash of the token's window, plus its place there, not negative: the tokens of each remainder are a sample
    """

    features: Tensor
    cells: Tensor
    kinds: Tensor
    groups: Tensor
    picks: Tensor


class Accumulator(Protocol):
    """Counts of a pass, flat in tokens."""

    def add(self, batch: FiringBatch) -> None:
        """Add a batch; the order of batches changes nothing."""
        ...


@dataclass(frozen=True)
class TokenKinds:
    """K disjoint kinds of tokens: combinations of classes, apart at the start of rows.

    names     names of the C classes
    classes   bool  [K, C]
    is_first  bool  [K]     kind 2p + 1 is the combination p at the first content token of a row
    codes     int64 [V]     of each token elsewhere
    """

    names: tuple[str, ...]
    classes: NDArray[np.bool_]
    is_first: NDArray[np.bool_]
    codes: NDArray[np.int64]

    @classmethod
    def of(cls, classes: TokenClasses) -> "TokenKinds":
        """Return the kinds of a vocabulary's tokens."""
        patterns, codes = np.unique(classes.mask, axis=1, return_inverse=True)
        count = patterns.shape[1]
        return cls(classes.names, np.repeat(patterns.T, 2, axis=0), np.arange(2 * count) % 2 == 1, 2 * codes.reshape(-1).astype(np.int64))

    def __len__(self) -> int:
        return len(self.classes)


def groups_of(documents: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the group of each document id, int64 [documents]."""
    # Mixed once more: splits and samples hash the ids too.
    found: NDArray[np.int64] = (mix(mix(documents)) % np.uint64(GROUPS)).astype(np.int64)
    return found


class FiringObserver:
    """Observer of a collection that describes each batch's tokens for several accumulators."""

    def __init__(self, corpus: TokenizedCorpus, layout: Layout, kinds: TokenKinds, device: torch.device, accumulators: Sequence[Accumulator]) -> None:
        """`layout` is that of the collection's stream."""
        self._corpus, self._layout, self._kinds, self._device, self._accumulators = corpus, layout, kinds, device, accumulators
        self._groups = groups_of(corpus.documents).astype(np.uint8)

    def add(self, firing: Firing) -> None:
        """Add a batch to every accumulator."""
        described = self._describe(firing)
        for accumulator in self._accumulators:
            accumulator.add(described)

    def _describe(self, firing: Firing) -> FiringBatch:
        windows, length = firing.windows, self._layout.window
        places = self._layout.locate(windows.ordinals.cpu().numpy())
        tokens = self._layout.tokens(self._corpus.tokens, places)
        columns = np.arange(length)
        kinds = self._kinds.codes[tokens] + (places.positions[:, None] + columns == self._layout.head)
        kinds[~windows.counted.cpu().numpy()] = NOT_COUNTED
        groups = np.repeat(self._groups[places.documents].astype(np.int64), length)
        picks = (hashes(windows)[:, None] + columns).reshape(-1)
        described = (torch.from_numpy(array).to(self._device) for array in (kinds.reshape(-1), groups, picks))
        return FiringBatch(firing.features, firing.cells, *described)


def hashes(windows: Windows) -> NDArray[np.int64]:
    """Return the hash of each window, int64 [W], below 2^32."""
    return windows.hashes[1].cpu().numpy().astype(np.int64) & 0xFFFFFFFF
