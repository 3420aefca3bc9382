"""Sample of a corpus: rows of tokens as collection would read them."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interp.collect.layout import layout_of
from interp.corpus.tokenized import TokenizedCorpus
from interp.dictionary.canonical import Positions
from interp.domain.spec import CollectionSpec
from interp.subject.loaded import OpenedSubject


@dataclass(frozen=True)
class TokenSample:
    """R rows of T tokens.

    tokens     int64 `[R, T]`
    counted    bool  `[R, T]`      where the dictionary counts
    asked      bool  `[R, T - 1]`  counted, and followed by a token to predict
    documents  int64 `[R]`         numbers from 0 of the rows' documents; None: each row is of another
    """

    tokens: Tensor
    counted: Tensor
    asked: Tensor
    documents: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def units(self) -> NDArray[np.int64]:
        """Return each row's unit of standard errors, its document, int64 `[R]`."""
        return np.arange(len(self)) if self.documents is None else self.documents

    def units_of(self, span: slice) -> NDArray[np.int64]:
        """Return the unit of each counted token of these rows, int64 `[N]`."""
        return np.repeat(self.units[span], self.counted[span].sum(1).cpu().numpy())

    @property
    def n_units(self) -> int:
        return int(self.units.max(initial=-1)) + 1

    def select(self, rows: NDArray[np.int64]) -> "TokenSample":
        """Return these rows, int64 `[R]`, with their units' numbers."""
        chosen = torch.from_numpy(rows).to(self.tokens.device)
        return TokenSample(self.tokens[chosen], self.counted[chosen], self.asked[chosen], self.units[rows])

    def thinned(self, rows: int, tokens: int) -> "TokenSample":
        """Return the first rows, with every n-th token counted: about `tokens` in all."""
        counted = self.counted[:rows]
        places = counted.cumsum(1) - 1
        step = -(-int(counted.sum()) // tokens) or 1
        documents = None if self.documents is None else self.documents[:rows]
        return TokenSample(self.tokens[:rows], counted & (places % step == 0), self.asked[:rows], documents)


def draw(subject: OpenedSubject, corpus: TokenizedCorpus, spec: CollectionSpec, positions: Positions, tokens: int) -> TokenSample:
    """Return rows of the explain split with about this many tokens; special tokens count nowhere."""
    layout = layout_of(corpus, subject.bos, spec, positions)
    rows = layout.sample(corpus.splits, tokens)
    ids, is_content = layout.row_tokens_of(corpus.tokens, rows, spec.row_tokens)
    excluded = np.array(sorted(subject.vocabulary.special | set(positions.excluded_tokens)), dtype=np.int64)
    counted = is_content & positions.mask(spec.row_tokens, spec.row_tokens) & ~np.isin(ids, excluded)
    asked = counted[:, :-1] & is_content[:, 1:]
    _, documents = np.unique(rows.documents, return_inverse=True)
    rows_of, counts, asks = (torch.from_numpy(array).to(subject.device) for array in (ids, counted, asked))
    return TokenSample(rows_of, counts, asks, documents.astype(np.int64))
