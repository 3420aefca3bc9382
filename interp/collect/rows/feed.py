"""Rows of a corpus in batches of fixed shapes, with what is known of their windows."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interp.collect.hashing import window_hashes
from interp.collect.rows.layout import Layout, Rows
from interp.collect.rows.staging import Windows
from interp.corpus.tokenized import TokenizedCorpus
from interp.dictionary.positions import EVERYWHERE, Positions
from interp.domain.evidence import Split


@dataclass(frozen=True)
class RowBatch:
    """B rows of T tokens for the subject. All batches with rows of one length have one shape: what is missing is filled with empty rows.

    tokens  int64 [B, T]
    windows by split: int64 [W], which of the B * T / window windows hold tokens that count, and what is known of them
    content how many tokens of the corpus it holds
    rows    where its rows stand in the corpus
    """

    tokens: Tensor
    windows: dict[Split, tuple[Tensor, Windows]]
    content: int
    rows: Rows


class RowBatches:
    """Batches of a range of documents. A batch of full rows has about `batch_tokens` tokens; of shorter, rarer rows a quarter as many."""

    def __init__(
        self,
        corpus: TokenizedCorpus,
        layout: Layout,
        special: frozenset[int],
        seed: int,
        batch_tokens: int,
        device: torch.device,
        positions: Positions = EVERYWHERE,
    ) -> None:
        """`special` tokens count nowhere, nor do the tokens and positions that `positions` leaves out."""
        self._corpus, self._layout, self._seed, self._batch_tokens, self._device = corpus, layout, seed, batch_tokens, device
        self._left_out = np.array(sorted(special | set(positions.excluded_tokens)), dtype=np.int64)
        self._positions = positions.mask(layout.row_tokens, layout.row_tokens)

    def batches(self, documents: tuple[int, int]) -> Iterator[RowBatch]:
        """All rows of the documents, each once."""
        return self.batches_of(self._layout.rows(*documents))

    def batches_of(self, rows: Rows) -> Iterator[RowBatch]:
        """These rows, each once."""
        for length in self._layout.row_lengths:
            alike = np.flatnonzero(rows.padded == length)
            count = self.rows_of(length)
            for first in range(0, len(alike), count):
                yield self._batch(rows.select(alike[first : first + count]), length, count)

    def rows_of(self, length: int) -> int:
        """Rows of a batch, by their padded length."""
        tokens = self._batch_tokens if length == self._layout.row_tokens else self._batch_tokens // 4
        return max(1, tokens // length)

    def _batch(self, rows: Rows, length: int, count: int) -> RowBatch:
        tokens, counted = self._tokens(rows, length)
        empty = ((0, count - len(rows)), (0, 0))
        windows = self._windows(rows, counted)
        content = int(rows.lengths.sum()) - len(rows) * self._layout.head
        return RowBatch(torch.from_numpy(np.pad(tokens, empty)).to(self._device), windows, content, rows)

    def _tokens(self, rows: Rows, length: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """int64 [R, length] token ids, and bool [R, length] where they count."""
        head, columns = self._layout.head, np.arange(length)[None, :]
        spots = (self._layout.offsets[rows.documents] + rows.firsts - head)[:, None] + columns
        real = columns < rows.lengths[:, None]
        tokens = self._corpus.tokens[np.clip(spots, 0, len(self._corpus.tokens) - 1)].astype(np.int64)
        tokens[~real] = 0
        if self._layout.bos is not None:
            tokens[:, 0] = self._layout.bos
        return tokens, real & (columns >= head) & self._positions[:length] & ~np.isin(tokens, self._left_out)

    def _windows(self, rows: Rows, counted: NDArray[np.bool_]) -> dict[Split, tuple[Tensor, Windows]]:
        by_window = counted.reshape(-1, self._layout.window)
        real = np.flatnonzero(by_window.any(axis=1))
        per_row = counted.shape[1] // self._layout.window
        ordinals = rows.ordinals[real // per_row] + real % per_row
        places = self._layout.locate(ordinals)
        hashes = window_hashes(self._seed, self._corpus.documents[places.documents], places.starts)
        splits = self._corpus.splits[places.documents]
        found = {}
        for split in Split:
            own = np.flatnonzero(splits == split)
            if len(own):
                columns = ordinals[own], hashes[:, own], by_window[real[own]]
                known = Windows(*(torch.from_numpy(column).to(self._device) for column in columns))
                found[split] = (torch.from_numpy(real[own]).to(self._device), known)
        return found
