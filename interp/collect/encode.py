"""Encoding of activations into the windows in which features fire.

A dense encode is cut into tiles of features by tokens that stay in cache: one matmul and one maximum over each window; only windows in which a
feature fires are read again. Tiles have a fixed shape and short ones are padded, since the rounding of a product depends on the shape of its
matrices. So a feature's activations depend neither on the rest of the batch nor on other features.
"""

import threading
from dataclasses import dataclass

import torch
from torch import Tensor

from interp.collect.memory import CODES
from interp.collect.window_batches import WindowBatch
from interp.dictionary.module import Dictionary

MASKED = -1.0  # value at a token that does not count: below every threshold
FLOAT16_LARGEST = 65504.0
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class TileShape:
    """Features and tokens of a tile, which fits a core's L2 cache (2 MiB)."""

    features: int
    tokens: int

    @classmethod
    def of(cls, device: torch.device, window: int) -> "TileShape":
        features, tokens = (512, 1024) if device.type == "cpu" else (4096, 8192)
        return cls(features, max(1, tokens // window) * window)


@dataclass(frozen=True)
class Activity:
    """P pairs, unordered, of a feature and a window in which it fires.

    features int64   [P]          counted from the first of the range
    windows  int64   [P]          windows of the batch
    values   float32 [P, window]  per token; the activation is 0 unless this is above the threshold, and it fires above `FiringLimits.firing`
    """

    features: Tensor
    windows: Tensor
    values: Tensor


@dataclass(frozen=True)
class FiringLimits:
    """Limits of F features, float32 [F] each.

    thresholds  of the dictionary: an activation is the value where that is above its threshold, else 0
    levels      firing levels, see `interp.collect.levels`: a feature fires at activations above its level
    firing      the larger of both: the feature fires at values above it
    """

    thresholds: Tensor
    levels: Tensor
    firing: Tensor

    @classmethod
    def of(cls, thresholds: Tensor, levels: Tensor | None) -> "FiringLimits":
        """Return the limits; without `levels` all levels are 0."""
        levels = torch.zeros_like(thresholds) if levels is None else levels
        return cls(thresholds, levels, torch.maximum(thresholds, levels))

    def __getitem__(self, chosen: slice | Tensor) -> "FiringLimits":
        return FiringLimits(self.thresholds[chosen], self.levels[chosen], self.firing[chosen])

    def stored(self, values: Tensor) -> Tensor:
        """Convert `values` [F, n] to activations float16 [F, n]: 0 below the threshold, clamped.

        A value that fires but rounds to the level or below becomes the next number above the level, so that the stored value fires too.
        """
        kept = torch.where(values > self.thresholds[:, None], values, 0).clamp_(max=FLOAT16_LARGEST)
        halves = kept.to(torch.float16)
        levels = self.levels[:, None]
        lost = (kept > levels) & (halves <= levels)
        if not bool(lost.any()):
            return halves
        above = (self.levels.to(torch.float16).view(torch.int16) + 1).view(torch.float16)[:, None]
        return torch.where(lost, above, halves)


class DenseEncoder:
    """Encoder of (Jump)ReLU dictionaries: norm(x) @ W_enc + b_enc where above threshold, else 0."""

    def __init__(
        self, dictionary: Dictionary, features: Tensor, dtype: torch.dtype, window: int, shape: TileShape, levels: Tensor | None = None
    ) -> None:
        """Copy the weights of features int64 [F], in this order; `levels` is float32 [F]."""
        # Rows of zeros at the end pad the last tile, wherever a range ends.
        self.weights = pad(dictionary.W_enc[:, features].T.to(dtype), len(features) + shape.features)
        self.biases = pad(dictionary.b_enc[features, None].to(dtype), len(features) + shape.features)
        thresholds = torch.zeros_like(dictionary.b_enc) if dictionary.threshold is None else dictionary.threshold
        self.limits = FiringLimits.of(thresholds[features].to(torch.float32).clamp(min=0), levels)
        self._dictionary, self._window, self._shape = dictionary, window, shape
        self._inputs: list[Tensor] = []
        self._masked: list[Tensor] = []
        self._local = threading.local()

    def begin(self, batch: WindowBatch) -> None:
        """Read a batch, once, before its ranges, of which several threads may encode different ones."""
        inputs = self._dictionary.normalise(batch.x).to(self.weights.dtype)
        self._inputs = list(torch.split(inputs, self._shape.tokens))
        self._masked = [masked.nonzero().squeeze(1) for masked in torch.split(batch.masked, self._shape.tokens)]

    def activity(self, start: int, stop: int, maxima: Tensor, activations: Tensor | None = None) -> Activity:
        """Encode features `start` to `stop - 1`; values are valid until the thread's next call.

        Window maxima go to `maxima` float32 [stop - start, W'], 0 where a feature does not fire; activations at all tokens to `activations` float16
        [stop - start, W' * window], if given.
        """
        buffers = self._buffers()
        tile_windows = self._shape.tokens // self._window
        for first in range(start, stop, self._shape.features):
            last, whole = min(first + self._shape.features, stop), slice(first, first + self._shape.features)
            weights, biases, limits = self.weights[whole], self.biases[whole], self.limits[first:last]
            firing = limits.firing[:, None]
            tile = buffers.tile[: last - first]
            own = slice(first - start, last - start)
            for index, (inputs, masked) in enumerate(zip(self._inputs, self._masked, strict=True)):
                torch.addmm(biases, weights, inputs.T, out=buffers.tile)
                tile.index_fill_(1, masked, MASKED)
                peaks = tile.view(-1, tile_windows, self._window).amax(2)
                maxima[own, index * tile_windows : (index + 1) * tile_windows] = peaks
                buffers.append(tile, peaks > firing, own.start, index * tile_windows)
                if activations is not None:
                    activations[own, index * self._shape.tokens : (index + 1) * self._shape.tokens] = limits.stored(tile)
        maxima.masked_fill_(maxima <= self.limits.firing[start:stop, None], 0)
        return buffers.take()

    def values(self, start: int, stop: int) -> Tensor:
        """Return values before the activation function, float32 [stop - start, tokens].

        The features are those of one tile.
        """
        tile = slice(start, start + self._shape.features)
        products = [torch.addmm(self.biases[tile], self.weights[tile], inputs.T)[: stop - start] for inputs in self._inputs]
        return torch.cat(products, dim=1).to(torch.float32)

    def _buffers(self) -> "EncodeBuffers":
        if not hasattr(self._local, "buffers"):
            self._local.buffers = EncodeBuffers(self._shape, self._window, self.weights.dtype, self.weights.device)
        buffers: EncodeBuffers = self._local.buffers
        return buffers


def pad(matrix: Tensor, rows: int) -> Tensor:
    """Return the matrix, contiguous, with rows of zeros appended."""
    padded = matrix.new_zeros((rows, *matrix.shape[1:]))
    padded[: len(matrix)] = matrix
    return padded


class EncodeBuffers:
    """Buffers of one thread: its tile, and the active windows of a range of features."""

    def __init__(self, shape: TileShape, window: int, dtype: torch.dtype, device: torch.device) -> None:
        self.tile = torch.empty((shape.features, shape.tokens), dtype=dtype, device=device)
        self._window = window
        self._values = torch.empty((4096, window), dtype=dtype, device=device)
        self._pairs: list[Tensor] = []
        self._count = 0

    def append(self, tile: Tensor, active: Tensor, feature: int, window: int) -> None:
        """Copy the windows of a tile [features, tokens] that `active` [features, windows] marks."""
        pairs = active.nonzero().T
        cells = torch.add(pairs[1], pairs[0], alpha=active.shape[1])
        count = self._count + len(cells)
        if count > len(self._values):
            grown = self._values.new_empty((2 * count, self._window))
            grown[: self._count] = self._values[: self._count]
            self._values = grown
        torch.index_select(tile.view(-1, self._window), 0, cells, out=self._values[self._count : count])
        pairs[0] += feature
        pairs[1] += window
        self._pairs.append(pairs)
        self._count = count

    def take(self) -> Activity:
        """Return the activity since the last call."""
        features, windows = torch.cat(self._pairs, dim=1)
        values = self._values[: self._count].to(torch.float32)
        self._pairs, self._count = [], 0
        return Activity(features, windows, values)


class TopKEncoder:
    """Encoder of TopK dictionaries by sparse codes; only window maxima are dense."""

    def __init__(self, dictionary: Dictionary, features: Tensor, window: int, shape: TileShape, levels: Tensor | None = None) -> None:
        """Prepare features int64 [F], in this order; `levels` float32 [F] are their firing levels."""
        self.limits = FiringLimits.of(torch.zeros(len(features), device=features.device), levels)
        self._places = torch.full((dictionary.n_features,), -1, dtype=torch.int64, device=features.device)
        self._places[features] = torch.arange(len(features), device=features.device)
        self._dictionary, self._window = dictionary, window
        # Tokens whose pre-activations are computed together: a divisor of a tile's tokens, so that all products have one shape.
        most = max(1, CODES // dictionary.n_features)
        self._tokens_at_once = next(size for size in range(min(shape.tokens, most), 0, -1) if shape.tokens % size == 0)
        self._features = self._tokens = self._values = torch.empty(0)

    def begin(self, batch: WindowBatch) -> None:
        """Read a batch, as `DenseEncoder.begin`."""
        codes = [self._dictionary.sparse_codes(x) for x in torch.split(batch.x, self._tokens_at_once)]
        values = torch.cat([values for values, _ in codes]).to(torch.float32)
        values.masked_fill_(batch.masked[:, None], 0)
        places = self._places[torch.cat([indices for _, indices in codes])].view(-1)
        kept = ((values.view(-1) > 0) & (places >= 0)).nonzero().squeeze(1)
        self._values, self._features, self._tokens = values.view(-1)[kept], places[kept], kept // values.shape[1]

    @property
    def codes(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return features int64 [C], tokens int64 [C] and values float32 [C] of the batch's codes."""
        return self._features, self._tokens, self._values

    def activity(self, start: int, stop: int, maxima: Tensor, activations: Tensor | None = None) -> Activity:
        """Encode a range of features, as `DenseEncoder.activity`."""
        own = ((self._features >= start) & (self._features < stop)).nonzero().squeeze(1)
        features, tokens, values = self._features[own] - start, self._tokens[own], self._values[own]
        count, limits = maxima.shape[1], self.limits[start:stop]
        cells = features * count + tokens // self._window
        peaks = torch.zeros(maxima.numel(), device=maxima.device).scatter_reduce_(0, cells, values, "amax").view_as(maxima)
        fires = peaks > limits.firing[:, None]
        maxima.copy_(peaks.masked_fill_(~fires, 0))
        pairs = fires.view(-1).nonzero().squeeze(1)
        ranks = torch.full((maxima.numel(),), -1, dtype=torch.int64, device=maxima.device)
        ranks[pairs] = torch.arange(len(pairs), device=maxima.device)
        places = ranks[cells]
        held = (places >= 0).nonzero().squeeze(1)
        windows = torch.zeros((len(pairs), self._window), device=maxima.device)
        windows[places[held], tokens[held] % self._window] = values[held]
        if activations is not None:
            activations.zero_()
            activations[features, tokens] = limits[features].stored(values[:, None])[:, 0]
        return Activity(pairs // count, pairs % count, windows)


Encoder = DenseEncoder | TopKEncoder


def make_encoder(
    dictionary: Dictionary, features: Tensor, dtype: torch.dtype, window: int, shape: TileShape, levels: Tensor | None = None
) -> Encoder:
    """Return the dictionary's encoder; TopK ignores `dtype`, since rounding changes the largest k."""
    if dictionary.k is not None:
        return TopKEncoder(dictionary, features, window, shape, levels)
    return DenseEncoder(dictionary, features, dtype, window, shape, levels)
