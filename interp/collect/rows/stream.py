"""Rows of a corpus through the subject, as full batches of windows of one split."""

from collections.abc import Callable, Iterator

import torch

from interp.collect.encode import TileShape
from interp.collect.finite import check_activations
from interp.collect.rows.feed import RowBatch, RowBatches
from interp.collect.rows.layout import Rows, layout_of
from interp.collect.rows.staging import WindowBatch, WindowStaging
from interp.corpus.tokenized import TokenizedCorpus
from interp.dictionary.positions import Positions
from interp.domain.evidence import Split
from interp.domain.spec import CollectionSpec
from interp.subject.base import Subject


class Stream:
    """The subject and a stage of windows for each split; `sink` gets each batch that has filled up."""

    def __init__(
        self,
        subject: Subject,
        corpus: TokenizedCorpus,
        spec: CollectionSpec,
        seed: int,
        positions: Positions,
        sink: Callable[[WindowBatch], None],
    ) -> None:
        """`positions`: those that the dictionary counts."""
        self.shape = TileShape.of(subject.device, spec.window)
        self.capacity = capacity_of(spec, self.shape)
        self.layout = layout_of(corpus.offsets, subject.bos, spec, positions)
        self._subject, self._corpus, self._sink = subject, corpus, sink
        self._feed = RowBatches(corpus, self.layout, subject.vocabulary.special, seed, spec.batch_tokens, subject.device, positions)
        self._stages = {split: WindowStaging(split, self.capacity, self.shape.tokens, spec.window, subject.d_in, subject.device) for split in Split}

    def batches(self, documents: tuple[int, int]) -> Iterator[RowBatch]:
        """All rows of the documents `documents[0]` to `documents[1] - 1`, in batches of fixed shapes."""
        return self._feed.batches(documents)

    def batches_of(self, rows: Rows) -> Iterator[RowBatch]:
        """These rows, in batches of fixed shapes."""
        return self._feed.batches_of(rows)

    @torch.inference_mode()
    def take(self, batch: RowBatch) -> None:
        """Runs the subject on a batch, and the sink as often as that fills a stage. Raises ActivationsNotFinite."""
        x = self._subject.activations(batch.tokens).to(torch.float32)
        check_activations(x, batch, self._subject, self._corpus, self.layout)
        by_window = x.reshape(-1, self.layout.window * x.shape[2])
        for split, (spots, windows) in batch.windows.items():
            stage, first = self._stages[split], 0
            while first < len(spots):
                part = slice(first, first + min(stage.room, len(spots) - first))
                stage.put(by_window[spots[part]], windows.select(part))
                first = part.stop
                if stage.room == 0:
                    self._sink(stage.take())

    def flush(self) -> None:
        """Gives the sink what waits in the stages."""
        for stage in self._stages.values():
            if stage.count:
                self._sink(stage.take())


def capacity_of(spec: CollectionSpec, shape: TileShape) -> int:
    """Windows of the largest batch."""
    return -(-max(spec.batch_tokens, spec.row_tokens) // shape.tokens) * shape.tokens // spec.window
