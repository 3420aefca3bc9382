"""Sample of a corpus: rows of tokens as collection would read them."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from interp.collect.layout import layout_of
from interp.collect.levels import sample_rows
from interp.corpus.tokenized import TokenizedCorpus
from interp.dictionary.canonical import Positions
from interp.domain.spec import CollectionSpec
from interp.subject.loaded import OpenedSubject


@dataclass(frozen=True)
class TokenSample:
    """R rows of T tokens.

    tokens   int64 `[R, T]`
    counted  bool  `[R, T]`      where the dictionary counts
    asked    bool  `[R, T - 1]`  counted, and followed by a token to predict
    """

    tokens: Tensor
    counted: Tensor
    asked: Tensor

    def __len__(self) -> int:
        return len(self.tokens)

    def thinned(self, rows: int, tokens: int) -> "TokenSample":
        """Return the first rows, with every n-th token counted: about `tokens` in all."""
        counted = self.counted[:rows]
        places = counted.cumsum(1) - 1
        step = -(-int(counted.sum()) // tokens) or 1
        return TokenSample(self.tokens[:rows], counted & (places % step == 0), self.asked[:rows])


def draw(subject: OpenedSubject, corpus: TokenizedCorpus, spec: CollectionSpec, positions: Positions, tokens: int) -> TokenSample:
    """Return rows of the explain split with about this many tokens; special tokens count nowhere."""
    layout = layout_of(corpus.offsets, subject.bos, spec, positions)
    rows = sample_rows(layout, corpus.splits, tokens)
    ids, is_content = layout.row_tokens_of(corpus.tokens, rows, spec.row_tokens)
    excluded = np.array(sorted(subject.vocabulary.special | set(positions.excluded_tokens)), dtype=np.int64)
    counted = is_content & positions.mask(spec.row_tokens, spec.row_tokens) & ~np.isin(ids, excluded)
    arrays = ids, counted, counted[:, :-1] & is_content[:, 1:]
    return TokenSample(*(torch.from_numpy(array).to(subject.device) for array in arrays))
