"""Stream of corpus rows through the subject into full batches of windows per split."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interp.collect.encode import TileShape
from interp.collect.hashing import window_hashes
from interp.collect.layout import PackedLayout, Rows, layout_of
from interp.collect.window_batches import WindowBatch, WindowBuffer, Windows
from interp.corpus.tokenized import TokenizedCorpus
from interp.dictionary.canonical import Positions
from interp.domain.errors import ActivationsNotFiniteError
from interp.domain.evidence import Split
from interp.domain.spec import CollectionSpec
from interp.subject.base import Subject
from interp.subject.forward_passes import ForwardPasses


@dataclass(frozen=True)
class RowBatch:
    """B rows of T tokens for the subject, padded to one shape per row length.

    tokens  int64 [B, T]
    windows by split: int64 [W], where in B * T windows begin that hold tokens that count, and these windows' columns
    content number of the corpus' tokens in it
    rows    positions of its rows in the corpus
    """

    tokens: Tensor
    windows: dict[Split, tuple[Tensor, Windows]]
    content: int
    rows: Rows


class Stream:
    """The subject and a buffer per split; `sink` is called with each batch of windows."""

    def __init__(
        self,
        subject: Subject,
        corpus: TokenizedCorpus,
        spec: CollectionSpec,
        seed: int,
        positions: Positions,
        sink: Callable[[WindowBatch], None],
    ) -> None:
        """Create the buffers; special tokens and those that `positions` excludes count nowhere."""
        device, shape = subject.device, TileShape.of(subject.device, spec.window)
        self.layout = layout_of(corpus, subject.bos, spec, positions)
        self._passes = ForwardPasses(subject)
        self._subject, self._corpus, self._batch_tokens, self._seed, self._sink = subject, corpus, spec.tokens_at_once, seed, sink
        self._excluded = np.array(sorted(subject.vocabulary.special | set(positions.excluded_tokens)), dtype=np.int64)
        self._positions = positions.mask(spec.row_tokens, spec.row_tokens)
        capacity = capacity_of(spec, shape)
        self._buffers = {split: WindowBuffer(split, capacity, shape.tokens, spec.window, subject.d_in, device) for split in Split}

    def batches(self, rows: Rows) -> Iterator[RowBatch]:
        """Yield rows in batches of about `batch_tokens` tokens (shorter, rarer rows: a quarter)."""
        for length in self.layout.row_lengths:
            alike = np.flatnonzero(rows.padded == length)
            count = rows_at_once(self._batch_tokens, length, self.layout.row_tokens)
            for first in range(0, len(alike), count):
                yield self._batch(rows.select(alike[first : first + count]), length, count)

    @torch.inference_mode()
    def take(self, batch: RowBatch) -> None:
        """Run the subject on a batch, and the sink on full buffers; raises ActivationsNotFiniteError."""
        x = self._passes.activations(batch.tokens).to(torch.float32)
        self._check_finite(x, batch.rows)
        gather = self._gatherer(x)
        for split, (places, windows) in batch.windows.items():
            buffer, first = self._buffers[split], 0
            while first < len(places):
                part = slice(first, first + min(buffer.free, len(places) - first))
                buffer.put(gather(places[part]), windows.select(part))
                first = part.stop
                if buffer.free == 0:
                    self._sink(buffer.take())

    def _gatherer(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """Return what gives windows `[W, window * D]` by their places.

        A place is that of a window's first token in B * T of x `[B, T, D]`.
        """
        window = self.layout.window
        if not isinstance(self.layout, PackedLayout):
            by_window = x.reshape(-1, window * x.shape[2])
            return lambda places: by_window[places // window]
        tokens, columns = x.reshape(-1, x.shape[2]), torch.arange(window, device=x.device)
        return lambda places: tokens[(places[:, None] + columns).clamp(max=len(tokens) - 1)].flatten(1)

    def flush(self) -> None:
        """Call the sink with the rest of the buffers."""
        for buffer in self._buffers.values():
            if buffer.count:
                self._sink(buffer.take())

    def _batch(self, rows: Rows, length: int, count: int) -> RowBatch:
        tokens, counted = self._tokens(rows, length)
        padding = ((0, count - len(rows)), (0, 0))
        content = self.layout.content_tokens(rows)
        return RowBatch(torch.from_numpy(np.pad(tokens, padding)).to(self._subject.device), self._windows(rows, counted), content, rows)

    def _tokens(self, rows: Rows, length: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return token ids int64 [R, length], and where they count, bool [R, length]."""
        tokens, is_content = self.layout.row_tokens_of(self._corpus.tokens, rows, length)
        return tokens, is_content & self._positions[:length] & ~np.isin(tokens, self._excluded)

    def _windows(self, rows: Rows, counted: NDArray[np.bool_]) -> dict[Split, tuple[Tensor, Windows]]:
        there = self.layout.windows_in(rows, counted)
        places = self.layout.locate(there.ordinals)
        hashes = window_hashes(self._seed, self._corpus.documents[places.documents], places.starts)
        splits = self._corpus.splits[places.documents]
        found = {}
        for split in Split:
            own = np.flatnonzero(splits == split)
            if len(own):
                arrays = there.places[own], there.ordinals[own], hashes[:, own], there.counted[own]
                indices, *columns = (torch.from_numpy(array).to(self._subject.device) for array in arrays)
                found[split] = indices, Windows(*columns)
        return found

    def _check_finite(self, x: Tensor, rows: Rows) -> None:
        """Raise ActivationsNotFiniteError for NaN or infinity in x float32 [B, T, D] at real tokens.

        They would make statistics wrong without an error. At padding they become 0, in place.
        """
        # The sum shows any NaN or infinity in a single pass; the token is searched only when there is one.
        if bool(torch.isfinite(x.sum())):
            return
        finite = torch.isfinite(x).all(2)[: len(rows)].cpu().numpy()
        real = np.arange(x.shape[1])[None, :] < rows.lengths[:, None]
        bad = np.argwhere(real & ~finite)
        if len(bad) == 0:
            x.nan_to_num_(0.0, 0.0, 0.0)
            return
        row, column = (int(index) for index in bad[0])
        index, token = self.layout.place_of(rows, row, column)
        document = f"{int(self._corpus.documents[index]):016x}"
        where = f"token {token}" if column >= self.layout.head else f"the BOS before token {token + 1}"
        raise ActivationsNotFiniteError(
            f"{self._subject.name} gives NaN or infinity at {self._subject.hook_point}, in document {document} at {where}.",
            why="The subject's numbers overflow, or its weights are damaged.",
            cure="Use dtype bfloat16 or float32 for the subject.",
            hook_point=self._subject.hook_point,
            document=document,
            token=token,
        )


def rows_at_once(batch_tokens: int, length: int, row_tokens: int) -> int:
    """Return the rows of a pass over one padded length: a quarter for shorter ones."""
    return max(1, (batch_tokens if length == row_tokens else batch_tokens // 4) // length)


def capacity_of(spec: CollectionSpec, shape: TileShape) -> int:
    """Return the number of windows of the largest batch."""
    return -(-max(spec.tokens_at_once, spec.row_tokens) // shape.tokens) * shape.tokens // spec.window
