"""Firings as a table, and as the batches that accumulators take."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from hypothesis import strategies as st
from numpy.typing import NDArray

from interp.health.firing import NOT_COUNTED, FiringBatch, TokenKinds

KINDS = TokenKinds(
    ("upper", "digits", "other"),
    np.repeat(np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]], bool), 2, axis=0),
    np.arange(6) % 2 == 1,
    np.zeros(0, np.int64),
)


@dataclass(frozen=True)
class Table:
    """n tokens: fires bool [n, S], kinds and groups int64 [n]."""

    fires: NDArray[np.bool_]
    kinds: NDArray[np.int64]
    groups: NDArray[np.int64]

    @property
    def counted(self) -> NDArray[np.bool_]:
        return self.kinds != NOT_COUNTED

    def batch(self, rows: slice = slice(None)) -> FiringBatch:
        """The rows as one batch, its firings in no order."""
        cells, features = np.nonzero(self.fires[rows] & self.counted[rows, None])
        order = np.random.default_rng(len(cells)).permutation(len(cells))
        arrays = features[order], cells[order], self.kinds[rows], self.groups[rows], np.zeros(len(self.kinds[rows]), np.int64)
        return FiringBatch(*(torch.from_numpy(np.ascontiguousarray(array, dtype=np.int64)) for array in arrays))

    def shards(self, cuts: Sequence[int]) -> Iterator[FiringBatch]:
        """The rows between the cuts, as batches."""
        edges = sorted({0, len(self.kinds), *(cut % (len(self.kinds) + 1) for cut in cuts)})
        for first, stop in pairwise(edges):
            yield self.batch(slice(first, stop))


@st.composite
def tables(draw: st.DrawFn, features: int = 5) -> Table:
    """Tokens of a few documents; feature 0 never fires, feature 1 always."""
    tokens, documents = draw(st.integers(1, 60)), draw(st.integers(1, 6))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    fires = generator.random((tokens, features)) < draw(st.sampled_from([0.05, 0.3, 0.7]))
    fires[:, 0], fires[:, 1] = False, True
    return Table(fires, generator.integers(NOT_COUNTED, len(KINDS), tokens), generator.integers(0, documents, tokens))
