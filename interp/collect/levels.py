"""Firing levels: the activation above which a feature counts as firing. 0 in a sparse dictionary, a quantile of its activations in a dense one.

The neurons of a layer are above 0 at a third of all tokens and more: "above 0" says nothing there. So a feature of a dense dictionary fires at the
`firing_rate` of tokens at which it is strongest. Its level is found on a calibration sample: whole rows of documents of the explain split, the first
rows of documents first, in the order of the documents' hashes, until there are `CALIBRATION_TOKENS`. The test split is not looked at, so that what is
scored there was measured with a level that knows nothing of it. The sample is a function of the corpus alone, and a level of the sample and the
feature: no batch, shard, group of features or number of workers shows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interp.collect.collector import cut
from interp.collect.encode import DTYPES, Encoder, TileShape, make_encoder
from interp.collect.hashing import mix
from interp.collect.lanes import Lanes
from interp.collect.rows.layout import Layout, Rows
from interp.collect.rows.staging import WindowBatch
from interp.collect.rows.stream import Stream
from interp.corpus.tokenized import TokenizedCorpus
from interp.dictionary.module import Dictionary
from interp.domain.evidence import Split
from interp.domain.spec import CollectionSpec
from interp.subject.base import Subject

CALIBRATION_TOKENS = 65_536
# A dictionary is dense where its features fire (above 0) at more than this share of tokens on average. Sparse dictionaries have .001 to .02; neurons
# .1 to .6. Found on so many features, drawn by a hash of their index, and so many tokens.
DENSE_ABOVE = 0.1
PROBED_FEATURES, PROBED_TOKENS = 512, 8_192
MOST_BYTES = 1 << 28  # of the largest activations that are kept at once

Progress = Callable[[float], None]  # the share that is done, from 0 to 1
PROBING = 0.1  # the share of calibration that looking for dense features counts as


@dataclass(frozen=True)
class FiringLevels:
    """Levels of some features: `features` int64 [N], ascending; `levels` float32 [N], each a float16 number."""

    features: NDArray[np.int64]
    levels: NDArray[np.float32]

    def of(self, features: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 [S]: the levels of these features. Raises ValueError where one was not calibrated."""
        places = np.minimum(np.searchsorted(self.features, features), max(len(self.features) - 1, 0))
        if len(features) and (not len(self.features) or (self.features[places] != features).any()):
            raise ValueError("a feature has no firing level")
        found: NDArray[np.float32] = self.levels[places]
        return found


def calibrate(
    subject: Subject, dictionary: Dictionary, corpus: TokenizedCorpus, spec: CollectionSpec, features: NDArray[np.int64], progress: Progress
) -> FiringLevels | None:
    """The firing levels of features int64 [S], ascending; None where all are 0.

    `progress` is called after every batch with the share that is done, and may raise to stop the work. Raises ActivationsNotFinite.
    """
    dictionary = dictionary.to(subject.device)
    if not has_levels(subject, dictionary, corpus, spec, lambda share: progress(PROBING * share)):
        return None
    most = int(spec.firing_rate * CALIBRATION_TOKENS + spec.firing_rate * spec.row_tokens) + 2
    at_once = max(1, MOST_BYTES // (4 * most))
    starts = range(0, len(features), at_once)
    found = [
        _quantiles(subject, dictionary, corpus, spec, features[start : start + at_once], most, partial(_pass_done, progress, number, len(starts)))
        for number, start in enumerate(starts)
    ]
    return FiringLevels(features, np.concatenate([np.zeros(0, np.float32), *found]))


def _pass_done(progress: Progress, number: int, passes: int, share: float) -> None:
    """So much of one of the passes over the calibration sample is done."""
    progress(PROBING + (1 - PROBING) * (number + share) / passes)


def has_levels(subject: Subject, dictionary: Dictionary, corpus: TokenizedCorpus, spec: CollectionSpec, progress: Progress) -> bool:
    """Whether features fire above a quantile: by the setting; with `auto` in dense dictionaries."""
    if spec.firing_level != "auto":
        return spec.firing_level == "quantile"
    if dictionary.architecture == "neurons" or (dictionary.architecture == "directions" and dictionary.threshold is None):
        return True
    if dictionary.k is not None:
        return dictionary.k / dictionary.n_features > DENSE_ABOVE
    return mean_density(subject, dictionary, corpus, spec, progress) > DENSE_ABOVE


def mean_density(subject: Subject, dictionary: Dictionary, corpus: TokenizedCorpus, spec: CollectionSpec, progress: Progress) -> float:
    """Share of tokens at which a feature is above 0, on average over some features of the dictionary, on a part of the calibration sample."""
    order = np.argsort(mix(np.arange(dictionary.n_features, dtype=np.uint64)), kind="stable")
    probed = np.sort(order[:PROBED_FEATURES])
    counts = [0, 0]

    def count(_span: slice, values: Tensor, batch: WindowBatch) -> None:
        counts[0] += int((values > 0).sum())
        counts[1] += values.shape[0] * int(batch.windows.counted.sum())

    _over_sample(subject, dictionary, corpus, spec, probed, PROBED_TOKENS, count, progress)
    return counts[0] / max(counts[1], 1)


def sample_rows(layout: Layout, splits: NDArray[np.uint8], tokens: int) -> Rows:
    """Rows of explain documents with so many content tokens, or all there are: first rows of documents, then second ones, and so on."""
    explain = splits == Split.EXPLAIN
    first_rows = np.where(explain, np.minimum(np.diff(layout.offsets), layout.content), 0)
    stop = min(int(np.searchsorted(np.cumsum(first_rows), tokens)) + 1, len(splits))
    rows = layout.rows(0, stop)
    rows = rows.select(np.flatnonzero(explain[rows.documents]))
    rows = rows.select(np.argsort(rows.firsts, kind="stable"))
    enough = int(np.searchsorted(np.cumsum(rows.lengths - layout.head), tokens)) + 1
    return rows.select(np.arange(min(enough, len(rows))))


def _quantiles(
    subject: Subject,
    dictionary: Dictionary,
    corpus: TokenizedCorpus,
    spec: CollectionSpec,
    features: NDArray[np.int64],
    most: int,
    progress: Progress,
) -> NDArray[np.float32]:
    """float32 [S]: the levels of these features, whose `most` largest activations fit into memory."""
    kept = torch.zeros((len(features), most), device=subject.device)
    seen = [0]

    def keep(span: slice, values: Tensor, batch: WindowBatch) -> None:
        kept[span] = torch.cat([kept[span], values.to(torch.float32)], dim=1).topk(most, dim=1, sorted=False).values
        if span.start == 0:
            seen[0] += int(batch.windows.counted.sum())

    _over_sample(subject, dictionary, corpus, spec, features, CALIBRATION_TOKENS, keep, progress)
    return levels_of(kept.sort(dim=1, descending=True).values, int(spec.firing_rate * seen[0])).cpu().numpy()


def levels_of(largest: Tensor, firing: int) -> Tensor:
    """float32 [S]: levels above which each feature is at `firing` tokens, from float16 numbers float32 [S, n > firing], falling.

    Of equal activations at the level none fires; where those are the feature's largest, all of them do, so that no feature falls silent.
    """
    level, top = largest[:, firing], largest[:, 0]
    below = (top.to(torch.float16).view(torch.int16) - 1).clamp_(min=0).view(torch.float16).to(torch.float32)
    return torch.where(level < top, level, torch.where(top > 0, below, 0))


def _over_sample(
    subject: Subject,
    dictionary: Dictionary,
    corpus: TokenizedCorpus,
    spec: CollectionSpec,
    features: NDArray[np.int64],
    tokens: int,
    use: Callable[[slice, Tensor, WindowBatch], None],
    progress: Progress,
) -> None:
    """Gives `use` the activations of the features on the calibration sample: float16 [rows of the slice, tokens of the batch], a tile at a time."""
    device, lanes, done = subject.device, Lanes(subject.device), 0
    shape = TileShape.of(device, spec.window)
    encoder = make_encoder(dictionary, torch.from_numpy(features).to(device), DTYPES[spec.encode_dtype], spec.window, shape)
    tiles = [slice(start, min(start + shape.features, len(features))) for start in range(0, len(features), shape.features)]

    def feed(batch: WindowBatch) -> None:
        encoder.begin(batch)
        lanes.each(partial(_use_tiles, encoder, batch, tiles, use, spec.window), cut(0, len(tiles), lanes.count, 1))

    stream = Stream(subject, corpus, spec, 0, dictionary.positions, feed)
    try:
        sample = sample_rows(stream.layout, corpus.splits, tokens)
        whole = int((sample.lengths - stream.layout.head).sum())
        for rows in stream.batches_of(sample):
            stream.take(rows)
            done += rows.content
            progress(done / whole)
        with torch.inference_mode():
            stream.flush()
    finally:
        lanes.close()


def _use_tiles(
    encoder: Encoder, batch: WindowBatch, tiles: list[slice], use: Callable[[slice, Tensor, WindowBatch], None], window: int, chosen: tuple[int, int]
) -> None:
    for tile in tiles[slice(*chosen)]:
        count = tile.stop - tile.start
        values = torch.empty((count, batch.tokens), dtype=torch.float16, device=batch.x.device)
        maxima = torch.empty((count, batch.tokens // window), device=batch.x.device)
        encoder.activity(tile.start, tile.stop, maxima, values)
        use(tile, values, batch)
