"""Biases with which random directions fire as often as the trained ones of their numbers.

f = max(0, z - θ) with z = (norm(x) - pre_bias) · e. Feature i's threshold θ lies between the n-th and the (n + 1)-th largest z on the calibration
sample (`interp.collect.levels`), n being the number of its tokens at which trained feature i is above 0. A trained feature that never fires there
has a partner that never does. As a bias -θ, it reaches every density, also those that z > 0 does not, and activations begin at 0.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interp.collect.encode import DenseEncoder, Encoder
from interp.collect.levels import CALIBRATION_TOKENS, MOST_BYTES, CalibrationSample, Progress
from interp.collect.window_batches import WindowBatch
from interp.corpus.tokenized import TokenizedCorpus
from interp.dictionary.module import Dictionary
from interp.domain.spec import CollectionSpec
from interp.subject.base import Subject

# Progress when the trained features' firings are counted.
COUNTED = 0.4


def matched_biases(
    subject: Subject,
    random: Dictionary,
    trained: Dictionary,
    corpus: TokenizedCorpus,
    spec: CollectionSpec,
    features: NDArray[np.int64],
    progress: Progress,
) -> NDArray[np.float32]:
    """Return encoder biases float32 [F] of a random dictionary.

    They are of features int64 [S], and -inf of others. A feature's bias depends on no other, on no batch and no worker. `trained` has a threshold, if
    it is BatchTopK. `progress` gets the finished share, and may raise to stop the work. Raises ActivationsNotFiniteError.
    """
    counts = firings(CalibrationSample(subject, trained.to(subject.device), corpus, spec), features, lambda share: progress(COUNTED * share))
    order = np.argsort(-counts, kind="stable")
    sample = CalibrationSample(subject, random.to(subject.device), corpus, spec)
    found, blocks = np.full(random.n_features, -np.inf, dtype=np.float32), list(_blocks(counts[order]))
    for number, block in enumerate(blocks):
        own = order[block]

        def block_progress(share: float, number: int = number) -> None:
            progress(COUNTED + (1 - COUNTED) * (number + share) / len(blocks))

        found[features[own]] = -thresholds(sample, features[own], counts[own], block_progress)
    return found


def firings(sample: CalibrationSample, features: NDArray[np.int64], progress: Progress) -> NDArray[np.int64]:
    """Return how many of the sample's tokens each of features int64 [S] fires at."""
    counts = torch.zeros(len(features), dtype=torch.int64, device=sample.subject.device)

    def add(span: slice, values: Tensor, _batch: WindowBatch) -> None:
        counts[span] += (values > 0).sum(dim=1)

    sample.run(features, CALIBRATION_TOKENS, add, progress)
    return counts.cpu().numpy()


def thresholds(sample: CalibrationSample, features: NDArray[np.int64], counts: NDArray[np.int64], progress: Progress) -> NDArray[np.float32]:
    """Return float32 [S] that each feature's value exceeds at `counts` tokens.

    `counts` is int64 [S], of the sample's tokens.
    """
    most = int(counts.max(initial=0)) + 1
    largest = torch.full((len(features), most), -torch.inf, device=sample.subject.device)

    def keep_largest(span: slice, values: Tensor, _batch: WindowBatch) -> None:
        largest[span] = torch.cat([largest[span], values], dim=1).topk(most, dim=1, sorted=False).values

    sample.run(features, CALIBRATION_TOKENS, keep_largest, progress, _values)
    ranked, places = largest.sort(dim=1, descending=True).values, torch.from_numpy(counts).to(largest.device)[:, None]
    top, above, below = ranked[:, 0], ranked.gather(1, (places - 1).clamp(min=0))[:, 0], ranked.gather(1, places)[:, 0]
    # Where all tokens fire there is none below: as far below the least as the largest is above it.
    below = torch.where(below.isinf(), 2 * above - top, below)
    return torch.where(places[:, 0] == 0, top, (above + below) / 2).nan_to_num(0, 0, 0).cpu().numpy()


def _values(encoder: Encoder, tile: slice, batch: WindowBatch) -> Tensor:
    """Return values before the activation function, float32, -inf at tokens that do not count."""
    assert isinstance(encoder, DenseEncoder), "random directions have no k"
    return encoder.values(tile.start, tile.stop).masked_fill_(batch.masked, -torch.inf)


def _blocks(counts: NDArray[np.int64]) -> Iterator[slice]:
    """Yield slices of features whose largest values fit into memory; `counts` is descending."""
    start = 0
    while start < len(counts):
        stop = start + max(1, MOST_BYTES // (4 * (int(counts[start]) + 1)))
        yield slice(start, min(stop, len(counts)))
        start = stop
