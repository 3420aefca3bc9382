"""Forward passes of given texts, with the bits of collection's.

A token's activations depend on its row: the row's tokens, its padded length, and the shape of the batch that it is in, since libraries choose how to
sum by the shape of a matrix. So a text is laid out as a document of its own and padded to a length that collection has. On a GPU its rows are in a
batch of collection's shape. On a CPU that would take a second, and a row alone usually gives the same bits: that is tried, once per length.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interp.collect.layout import Layout, layout_of
from interp.collect.stream import rows_at_once
from interp.corpus.tokenized import TokenizedCorpus
from interp.dictionary.canonical import Positions
from interp.domain.errors import InputError, TokenizerMismatchError
from interp.domain.evidence import Split
from interp.domain.spec import CollectionSpec
from interp.subject.base import Subject
from interp.subject.forward_passes import ForwardPasses
from interp.subject.loaded import OpenedSubject

log = logging.getLogger(__name__)

# The longest pass of a whole batch that is made to see whether a row alone gives the same.
TRIAL_SECONDS = 5.0
Between = Callable[[], object]


@dataclass(frozen=True)
class ReadText:
    """A text of N tokens as the subject read it.

    tokens   uint32  [N]
    x        float32 [N, D] on the subject's device
    counted  bool    [N]  false at special tokens and at positions that the dictionary leaves out: no feature counts there
    rows     places in N at which a row of the subject begins
    """

    tokens: NDArray[np.uint32]
    x: Tensor
    counted: NDArray[np.bool_]
    rows: tuple[int, ...]


@dataclass(frozen=True)
class _Row:
    """A padded row of a text: tokens int64 [T]; content and counted bool [T]."""

    text: int
    tokens: NDArray[np.int64]
    content: NDArray[np.bool_]
    counted: NDArray[np.bool_]


def tokens_of(subject: Subject | OpenedSubject, texts: Sequence[str]) -> list[NDArray[np.uint32]]:
    """Return the token ids uint32 [N] of texts; raises TokenizerMismatchError."""
    found = subject.encode_texts(texts)
    beyond = max((int(tokens.max()) for tokens in found if len(tokens)), default=0)
    if beyond >= len(subject.vocabulary):
        raise TokenizerMismatchError(
            f"Token {beyond} of the text is beyond the subject's vocabulary of {len(subject.vocabulary)}.",
            why="The tokenizer has tokens that the subject does not embed.",
            cure="Leave that part of the text out.",
        )
    return found


class TextReader:
    """Reader of texts with one subject, in the rows and batches of a run's collection.

    `is_exact` says whether every pass so far had collection's shape, or one that was found to give the same bits.
    """

    def __init__(self, subject: Subject, spec: CollectionSpec, positions: Positions) -> None:
        self._subject, self._spec, self._positions = subject, spec, positions
        self._passes = ForwardPasses(subject)
        self._excluded = np.array(sorted(subject.vocabulary.special | set(positions.excluded_tokens)), dtype=np.int64)
        self._counted = positions.mask(spec.row_tokens, spec.row_tokens)
        self._alone: dict[int, bool] = {}
        self.is_exact = True

    @torch.inference_mode()
    def read(self, texts: Sequence[NDArray[np.uint32]], between: Between = lambda: None) -> list[ReadText]:
        """Return the activations of texts, given as token ids uint32 [N]; raises InputError for NaN.

        `between` passes may raise to stop the work.
        """
        rows = [row for text, tokens in enumerate(texts) if len(tokens) for row in self._rows(text, tokens)]
        found: dict[int, Tensor] = {}
        for length in sorted({len(row.tokens) for row in rows}):
            own = [place for place, row in enumerate(rows) if len(row.tokens) == length]
            x = self._forward(np.stack([rows[place].tokens for place in own]), between)
            found |= {place: self._of_content(x[number], rows[place]) for number, place in enumerate(own)}
        empty = torch.zeros((0, self._subject.d_in), device=self._subject.device)
        made = []
        for text, tokens in enumerate(texts):
            mine = [place for place, row in enumerate(rows) if row.text == text]
            starts = np.cumsum([0, *(len(found[place]) for place in mine)])[:-1]
            counted = np.concatenate([np.zeros(0, np.bool_), *(rows[place].counted[rows[place].content] for place in mine)])
            made.append(ReadText(tokens, torch.cat([empty, *(found[place] for place in mine)]), counted, tuple(starts.tolist())))
        return made

    def _rows(self, text: int, tokens: NDArray[np.uint32]) -> list[_Row]:
        """Return the rows of a text as a corpus of one document has them."""
        offsets = np.array([0, len(tokens)], dtype=np.int64)
        corpus = TokenizedCorpus("", Path(), tokens, offsets, np.zeros(1, np.uint64), np.full(1, Split.EXPLAIN, np.uint8), 0, 0)
        layout: Layout = layout_of(corpus, self._subject.bos, self._spec, self._positions)
        rows = layout.rows(0, 1)
        found = []
        for place, length in enumerate(rows.padded.tolist()):
            ids, content = layout.row_tokens_of(tokens, rows.select(np.array([place])), length)
            counted = content[0] & self._counted[:length] & ~np.isin(ids[0], self._excluded)
            found.append(_Row(text, ids[0], content[0], counted))
        return found

    def _forward(self, rows: NDArray[np.int64], between: Between) -> Tensor:
        """Return activations float32 [R, T, D] of rows int64 [R, T]."""
        device, length = self._subject.device, rows.shape[1]
        count = rows_at_once(self._spec.tokens_at_once, length, self._spec.row_tokens)
        size = 1 if self._may_be_alone(length, count) else count
        parts = []
        for first in range(0, len(rows), size):
            between()
            own = rows[first : first + size]
            padded = np.pad(own, ((0, size - len(own)), (0, 0)))
            parts.append(self._passes.activations(torch.from_numpy(padded).to(device))[: len(own)].to(torch.float32))
        return torch.cat(parts)

    def _may_be_alone(self, length: int, count: int) -> bool:
        """Return whether a row alone is computed as in a batch of `count`."""
        if self._subject.device.type != "cpu":
            return False
        if length not in self._alone:
            self._alone[length] = count == 1 or self._is_same_alone(length, count)
        return self._alone[length]

    def _is_same_alone(self, length: int, count: int) -> bool:
        draw = np.random.default_rng(length)
        batch = torch.from_numpy(draw.integers(0, len(self._subject.vocabulary), (count, length), dtype=np.int64))
        places = sorted({0, count // 2, count - 1})
        began = time.monotonic()
        alone = [self._subject.activations(batch[place : place + 1])[0] for place in places]
        if (time.monotonic() - began) / len(places) * count > TRIAL_SECONDS:
            # A batch would take so long that no live request could wait for it.
            self.is_exact = False
            log.info("%s: rows of %d tokens are read alone; whether that gives a batch's bits was not tried.", self._subject.name, length)
            return True
        together = self._passes.activations(batch)
        return all(torch.equal(one, together[place]) for one, place in zip(alone, places, strict=True))

    def _of_content(self, x: Tensor, row: _Row) -> Tensor:
        """Return the activations [N, D] of a row's content; raises InputError for NaN or infinity."""
        own = x[torch.from_numpy(row.content).to(x.device)]
        if not bool(torch.isfinite(own.sum())):
            raise InputError(
                f"{self._subject.name} gives NaN or infinity at {self._subject.hook_point} for text {row.text}.",
                why="The subject's numbers overflow, or its weights are damaged.",
                cure="Use dtype bfloat16 or float32 for the subject.",
                hook_point=self._subject.hook_point,
            )
        return own
