"""Firing levels: activations above which features fire.

The level is 0 in a sparse dictionary and a quantile of the feature's activations in a dense one. The neurons of a layer are above 0 at a third of all
tokens and more, so "above 0" says nothing there. A feature of a dense dictionary therefore fires at the `firing_rate` of tokens at which it is
strongest. Its level is found on a calibration sample: whole rows of documents of the explain split, the first rows of documents first, in the order
of the documents' hashes, until there are `CALIBRATION_TOKENS`. The test split is not read, so that its scores use an independent level. The sample
depends on the corpus alone, and no level on batches, shards, groups of features or workers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interp.collect.encode import DTYPES, Encoder, TileShape, make_encoder
from interp.collect.hashing import mix
from interp.collect.layout import Layout, Rows
from interp.collect.stream import Stream
from interp.collect.window_batches import WindowBatch
from interp.collect.worker_threads import WorkerThreads, split_range
from interp.corpus.tokenized import TokenizedCorpus
from interp.dictionary.module import Dictionary
from interp.domain.spec import CollectionSpec
from interp.subject.base import Subject

CALIBRATION_TOKENS = 65_536
# A dictionary is dense where its features are above 0 at more than this share of tokens on average. Sparse dictionaries have .001 to .02; neurons
# .1 to .6. Measured on this number of features, drawn by a hash of their index, and of tokens.
DENSE_ABOVE = 0.1
PROBED_FEATURES, PROBED_TOKENS = 512, 8_192
MOST_BYTES = 1 << 28  # of the largest activations that are held at once
PROBE_SHARE = 0.1  # of the progress
INFINITE_FLOAT16 = 0x7C00  # the bits of infinity, the largest of all

Progress = Callable[[float], None]  # the finished share, from 0 to 1
ValuesOf = Callable[[Encoder, slice, WindowBatch], Tensor]


@dataclass(frozen=True)
class FiringLevels:
    """Levels float32 [N], each a float16 number, of features int64 [N], ascending."""

    features: NDArray[np.int64]
    levels: NDArray[np.float32]

    def of(self, features: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the levels float32 [S] of these features; raises ValueError for an uncalibrated one."""
        places = np.minimum(np.searchsorted(self.features, features), max(len(self.features) - 1, 0))
        if len(features) and (not len(self.features) or (self.features[places] != features).any()):
            raise ValueError("a feature has no firing level")
        found: NDArray[np.float32] = self.levels[places]
        return found


def calibrate(
    subject: Subject, dictionary: Dictionary, corpus: TokenizedCorpus, spec: CollectionSpec, features: NDArray[np.int64], progress: Progress
) -> FiringLevels | None:
    """Find the firing levels of features int64 [S], ascending; None where all are 0.

    `progress` is called after each batch, and may raise to stop the work. Raises ActivationsNotFiniteError.
    """
    sample = CalibrationSample(subject, dictionary.to(subject.device), corpus, spec)
    if not sample.has_levels(lambda share: progress(PROBE_SHARE * share)):
        return None
    most = int(spec.firing_rate * CALIBRATION_TOKENS + spec.firing_rate * spec.row_tokens) + 2
    at_once = max(1, MOST_BYTES // (4 * most))
    starts = range(0, len(features), at_once)
    found = [np.zeros(0, np.float32)]
    for number, start in enumerate(starts):

        def pass_progress(share: float, number: int = number) -> None:
            progress(PROBE_SHARE + (1 - PROBE_SHARE) * (number + share) / len(starts))

        found.append(sample.quantiles(features[start : start + at_once], most, pass_progress))
    return FiringLevels(features, np.concatenate(found))


def batch_top_k_threshold(subject: Subject, dictionary: Dictionary, corpus: TokenizedCorpus, spec: CollectionSpec, progress: Progress) -> float:
    """Find the threshold above which `batch_k` features a token fire on average.

    BatchTopK (Bussmann et al. 2024) keeps the `batch_k` N largest activations of N tokens: here, of the calibration sample. The threshold is a
    float16 number. `progress` may raise to stop the work. Raises ActivationsNotFiniteError.
    """
    return CalibrationSample(subject, dictionary.to(subject.device), corpus, spec).batch_threshold(progress)


@dataclass(frozen=True)
class CalibrationSample:
    """Calibration sample of a corpus, with its subject and dictionary."""

    subject: Subject
    dictionary: Dictionary
    corpus: TokenizedCorpus
    spec: CollectionSpec

    def has_levels(self, progress: Progress) -> bool:
        """Return whether levels are quantiles: by the setting, or (`auto`) for dense dictionaries."""
        if self.spec.firing_level != "auto":
            return self.spec.firing_level == "quantile"
        dictionary = self.dictionary
        if dictionary.architecture == "neurons" or (dictionary.architecture == "directions" and dictionary.threshold is None):
            return True
        if dictionary.k is not None:
            return dictionary.k / dictionary.n_features > DENSE_ABOVE
        return self.mean_density(progress) > DENSE_ABOVE

    def mean_density(self, progress: Progress) -> float:
        """Return the mean share of tokens above 0, of some features, on some tokens."""
        active = total = 0

        def count(_span: slice, values: Tensor, batch: WindowBatch) -> None:
            nonlocal active, total
            active += int((values > 0).sum())
            total += values.shape[0] * int(batch.windows.counted.sum())

        self.run(probed(self.dictionary.n_features), PROBED_TOKENS, count, progress)
        return active / max(total, 1)

    def batch_threshold(self, progress: Progress) -> float:
        """Return the activation that is exceeded `batch_k` times a token on average, or 0."""
        counts = torch.zeros(INFINITE_FLOAT16 + 1, dtype=torch.int64, device=self.subject.device)
        lock, tokens = Lock(), 0

        def count(span: slice, values: Tensor, batch: WindowBatch) -> None:
            nonlocal tokens
            # The bits of positive float16 numbers are in the numbers' order.
            bits = values.view(torch.int16)
            found = torch.bincount(bits[bits > 0].to(torch.int64), minlength=len(counts))
            with lock:
                counts.add_(found)
                tokens += int(batch.windows.counted.sum()) if span.start == 0 else 0

        self.run(np.arange(self.dictionary.n_features), CALIBRATION_TOKENS, count, progress)
        larger = counts.flip(0).cumsum(0)
        place = int(torch.searchsorted(larger, torch.tensor((self.dictionary.batch_k or 0) * tokens, device=larger.device), right=True))
        bits = np.array([max(INFINITE_FLOAT16 - place, 0)], dtype=np.int16)
        return float(bits.view(np.float16)[0])

    def quantiles(self, features: NDArray[np.int64], most: int, progress: Progress) -> NDArray[np.float32]:
        """Return the levels float32 [S] of features whose `most` largest activations fit into memory."""
        largest = torch.zeros((len(features), most), device=self.subject.device)
        tokens = 0

        def keep_largest(span: slice, values: Tensor, batch: WindowBatch) -> None:
            nonlocal tokens
            largest[span] = torch.cat([largest[span], values.to(torch.float32)], dim=1).topk(most, dim=1, sorted=False).values
            if span.start == 0:
                tokens += int(batch.windows.counted.sum())

        self.run(features, CALIBRATION_TOKENS, keep_largest, progress)
        return levels_of(largest.sort(dim=1, descending=True).values, int(self.spec.firing_rate * tokens)).cpu().numpy()

    def run(
        self,
        features: NDArray[np.int64],
        tokens: int,
        use: Callable[[slice, Tensor, WindowBatch], None],
        progress: Progress,
        values_of: "ValuesOf | None" = None,
    ) -> None:
        """Call `use` with values [features of the slice, tokens of the batch], per tile.

        By default they are activations float16.
        """

        def use_all(tile: slice, values: Tensor, batch: WindowBatch, _layout: Layout) -> None:
            use(tile, values, batch)

        def sample(layout: Layout) -> Rows:
            return layout.sample(self.corpus.splits, tokens)

        read_features(self.subject, self.dictionary, self.corpus, self.spec, features, sample, use_all, progress, values_of or activations)


def read_features(
    subject: Subject,
    dictionary: Dictionary,
    corpus: TokenizedCorpus,
    spec: CollectionSpec,
    features: NDArray[np.int64],
    rows_of: Callable[[Layout], Rows],
    use: Callable[[slice, Tensor, WindowBatch, Layout], None],
    progress: Progress,
    values_of: "ValuesOf",
    levels: NDArray[np.float32] | None = None,
) -> None:
    """Run rows of a corpus through subject and encoder, with the arithmetic of collection.

    `use` gets values [features of the slice, tokens of the batch], per tile of features int64 [S], from several threads. `levels` float32 [S] are the
    features' firing levels. `progress` is called after each batch, and may raise to stop the work. Raises ActivationsNotFiniteError.
    """
    device, window, done = subject.device, spec.window, 0
    threads, shape = WorkerThreads(device), TileShape.of(device, window)
    firing = None if levels is None else torch.from_numpy(levels).to(device)
    encoder = make_encoder(dictionary, torch.from_numpy(features).to(device), DTYPES[spec.encode_dtype], window, shape, firing)
    tiles = [slice(start, min(start + shape.features, len(features))) for start in range(0, len(features), shape.features)]

    def add(batch: WindowBatch) -> None:
        def use_tiles(chosen: tuple[int, int]) -> None:
            for tile in tiles[slice(*chosen)]:
                use(tile, values_of(encoder, tile, batch), batch, stream.layout)

        encoder.begin(batch)
        threads.each(use_tiles, split_range(0, len(tiles), threads.count, 1))

    stream = Stream(subject, corpus, spec, 0, dictionary.positions, add)
    try:
        rows = rows_of(stream.layout)
        total = stream.layout.content_tokens(rows)
        for batch in stream.batches(rows):
            stream.take(batch)
            done += batch.content
            progress(done / total)
        with torch.inference_mode():
            stream.flush()
    finally:
        threads.close()


def probed(n_features: int) -> NDArray[np.int64]:
    """Return the features, ascending, whose mean density says whether a dictionary is dense."""
    order = np.argsort(mix(np.arange(n_features, dtype=np.uint64)), kind="stable")
    return np.sort(order[:PROBED_FEATURES])


def activations(encoder: Encoder, tile: slice, batch: WindowBatch) -> Tensor:
    """Return activations float16 [features of the tile, tokens of the batch].

    They are 0 at tokens that do not count.
    """
    count, device = tile.stop - tile.start, batch.x.device
    values = torch.empty((count, batch.tokens), dtype=torch.float16, device=device)
    encoder.activity(tile.start, tile.stop, torch.empty((count, batch.tokens // batch.windows.counted.shape[1]), device=device), values)
    return values


def levels_of(largest: Tensor, firing: int) -> Tensor:
    """Return levels float32 [S] above which each feature is at `firing` tokens.

    `largest` float32 [S, n > firing] is descending. Activations equal to the level do not fire, unless the feature would be silent.
    """
    level, top = largest[:, firing], largest[:, 0]
    below = (top.to(torch.float16).view(torch.int16) - 1).clamp_(min=0).view(torch.float16).to(torch.float32)
    return torch.where(level < top, level, torch.where(top > 0, below, 0))
