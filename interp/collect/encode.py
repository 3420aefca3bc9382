"""From activations at the hook point to the windows in which features fire, without ever holding dense feature activations.

A dense encode is cut into tiles of features by tokens that stay in cache: one matmul, one maximum over each window, and only the windows in which
a feature fires are read again. Shapes of tiles are fixed and short ones filled up, since a product rounds by the shape of its matrices: so a
feature's activations depend neither on what else stands in the batch nor on which other features are collected with it.
"""

import threading
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from interp.collect.memory import CODES
from interp.collect.rows.staging import WindowBatch
from interp.dictionary.module import Dictionary

SILENT = -1.0  # stands for a token that does not count: below every floor
FLOAT16_LARGEST = 65504.0
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class TileShape:
    """Features and tokens of a tile: 2 MiB of float32 on the CPU, about a core's L2 on today's servers; elsewhere few, large kernels."""

    features: int
    tokens: int

    @classmethod
    def of(cls, device: torch.device, window: int) -> "TileShape":
        features, tokens = (512, 1024) if device.type == "cpu" else (4096, 8192)
        return cls(features, max(1, tokens // window) * window)


@dataclass(frozen=True)
class Activity:
    """Where a range of features fires in a batch. P pairs of a feature and a window in which it fires, in no order.

    features int64   [P]          counted from the first of the range
    windows  int64   [P]          windows of the batch
    values   float32 [P, window]  at each token; the activation is 0 unless this is above the floor, and it fires above `FiringLimits.firing`
    """

    features: Tensor
    windows: Tensor
    values: Tensor


@dataclass(frozen=True)
class FiringLimits:
    """Of F features, float32 [F] each.

    floors  the dictionary's own thresholds: an activation is the value above its floor, else 0
    levels  firing levels, see `interp.collect.levels`: a feature fires at activations above its level
    firing  the larger of both: what a value must be above for the feature to fire
    """

    floors: Tensor
    levels: Tensor
    firing: Tensor

    @classmethod
    def of(cls, floors: Tensor, levels: Tensor | None) -> "FiringLimits":
        """`levels` None: 0."""
        levels = torch.zeros_like(floors) if levels is None else levels
        return cls(floors, levels, torch.maximum(floors, levels))

    def __getitem__(self, chosen: slice | Tensor) -> "FiringLimits":
        return FiringLimits(self.floors[chosen], self.levels[chosen], self.firing[chosen])

    def stored(self, values: Tensor) -> Tensor:
        """`values` [F, n] of these features to float16 [F, n] activations: 0 below the floor, in float16's range.

        A value that fires and would be rounded to the level or below is stored as the next number above it, so that what fires can be told from what
        is stored.
        """
        kept = torch.where(values > self.floors[:, None], values, 0).clamp_(max=FLOAT16_LARGEST)
        halves = kept.to(torch.float16)
        levels = self.levels[:, None]
        lost = (kept > levels) & (halves <= levels)
        if not bool(lost.any()):
            return halves
        above = (self.levels.to(torch.float16).view(torch.int16) + 1).view(torch.float16)[:, None]
        return torch.where(lost, above, halves)


class Encoder(Protocol):
    """Gives the activity of ranges of features; several threads may ask for different ranges at once."""

    limits: FiringLimits

    def begin(self, batch: WindowBatch) -> None:
        """Reads a batch; called once, before its ranges."""
        ...

    def activity(self, start: int, stop: int, maxima: Tensor, everything: Tensor | None = None) -> Activity:
        """The features `start` to `stop - 1`. Their window maxima go into `maxima` float32 [stop - start, W']: 0 where they do not fire.

        Activations at all tokens go into `everything` float16 [stop - start, W' * window], where it is given. The values are good until the same
        thread asks again.
        """
        ...


class DenseEncoder:
    """ReLU and JumpReLU dictionaries: `f = pre if pre > floor else 0`, pre = norm(x) @ W_enc + b_enc, floor = max(threshold, 0)."""

    def __init__(
        self, dictionary: Dictionary, features: Tensor, dtype: torch.dtype, window: int, shape: TileShape, levels: Tensor | None = None
    ) -> None:
        """`features` int64 [F]: which of the dictionary's features to encode, in their order here; `levels` float32 [F]: their firing levels."""
        # Some rows of zeros at the end fill up the last tile, wherever a range ends.
        self.weights = pad(dictionary.W_enc[:, features].T.to(dtype), len(features) + shape.features)
        self.biases = pad(dictionary.b_enc[features, None].to(dtype), len(features) + shape.features)
        thresholds = torch.zeros_like(dictionary.b_enc) if dictionary.threshold is None else dictionary.threshold
        self.limits = FiringLimits.of(thresholds[features].to(torch.float32).clamp(min=0), levels)
        self._dictionary, self._window, self._shape = dictionary, window, shape
        self._inputs: list[Tensor] = []
        self._masked: list[Tensor] = []
        self._desks = threading.local()

    def begin(self, batch: WindowBatch) -> None:
        inputs = self._dictionary.normalise(batch.x).to(self.weights.dtype)
        self._inputs = list(torch.split(inputs, self._shape.tokens))
        self._masked = [masked.nonzero().squeeze(1) for masked in torch.split(batch.masked, self._shape.tokens)]

    def activity(self, start: int, stop: int, maxima: Tensor, everything: Tensor | None = None) -> Activity:
        desk = self._desk()
        tile_windows = self._shape.tokens // self._window
        for first in range(start, stop, self._shape.features):
            last, whole = min(first + self._shape.features, stop), slice(first, first + self._shape.features)
            weights, biases, limits = self.weights[whole], self.biases[whole], self.limits[first:last]
            firing = limits.firing[:, None]
            tile = desk.tile[: last - first]
            rows = maxima[first - start : last - start]
            for index, (inputs, masked) in enumerate(zip(self._inputs, self._masked, strict=True)):
                torch.addmm(biases, weights, inputs.T, out=desk.tile)
                tile.index_fill_(1, masked, SILENT)
                peaks = tile.view(-1, tile_windows, self._window).amax(2)
                rows[:, index * tile_windows : (index + 1) * tile_windows] = peaks
                desk.take(tile, peaks > firing, first - start, index * tile_windows)
                if everything is not None:
                    everything[first - start : last - start, index * self._shape.tokens : (index + 1) * self._shape.tokens] = limits.stored(tile)
        maxima.masked_fill_(maxima <= self.limits.firing[start:stop, None], 0)
        return desk.activity()

    def _desk(self) -> "EncodeBuffers":
        """The calling thread's own."""
        if not hasattr(self._desks, "desk"):
            self._desks.desk = EncodeBuffers(self._shape, self._window, self.weights.dtype, self.weights.device)
        desk: EncodeBuffers = self._desks.desk
        return desk


def pad(matrix: Tensor, rows: int) -> Tensor:
    """The matrix with rows of zeros below, contiguous."""
    padded = matrix.new_zeros((rows, *matrix.shape[1:]))
    padded[: len(matrix)] = matrix
    return padded


class EncodeBuffers:
    """Where one thread puts a tile, and gathers the active windows of a range of features."""

    def __init__(self, shape: TileShape, window: int, dtype: torch.dtype, device: torch.device) -> None:
        self.tile = torch.empty((shape.features, shape.tokens), dtype=dtype, device=device)
        self._window = window
        self._values = torch.empty((4096, window), dtype=dtype, device=device)
        self._pairs: list[Tensor] = []
        self._count = 0

    def take(self, tile: Tensor, active: Tensor, feature: int, window: int) -> None:
        """The windows of a tile [features, tokens] that `active` [features, windows] marks; its first are `feature` and `window`."""
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

    def activity(self) -> Activity:
        """All that was taken since the last call."""
        features, windows = torch.cat(self._pairs, dim=1)
        values = self._values[: self._count].to(torch.float32)
        self._pairs, self._count = [], 0
        return Activity(features, windows, values)


class CodeEncoder:
    """TopK dictionaries, by their sparse codes: what is mostly 0 is never made dense, but for window maxima."""

    def __init__(self, dictionary: Dictionary, features: Tensor, window: int, shape: TileShape, levels: Tensor | None = None) -> None:
        """`features` int64 [F]: which of the dictionary's features count, in their order here; `levels` float32 [F]: their firing levels."""
        self.limits = FiringLimits.of(torch.zeros(len(features), device=features.device), levels)
        self._places = torch.full((dictionary.n_features,), -1, dtype=torch.int64, device=features.device)
        self._places[features] = torch.arange(len(features), device=features.device)
        self._dictionary, self._window, self._tokens_at_once = dictionary, window, _tokens_at_once(shape.tokens, dictionary.n_features)
        self._features = self._tokens = self._values = torch.empty(0)

    def begin(self, batch: WindowBatch) -> None:
        codes = [self._dictionary.sparse_codes(x) for x in torch.split(batch.x, self._tokens_at_once)]
        values = torch.cat([values for values, _ in codes]).to(torch.float32)
        values.masked_fill_(batch.masked[:, None], 0)
        places = self._places[torch.cat([indices for _, indices in codes])].view(-1)
        kept = ((values.view(-1) > 0) & (places >= 0)).nonzero().squeeze(1)
        self._values, self._features, self._tokens = values.view(-1)[kept], places[kept], kept // values.shape[1]

    def activity(self, start: int, stop: int, maxima: Tensor, everything: Tensor | None = None) -> Activity:
        own = ((self._features >= start) & (self._features < stop)).nonzero().squeeze(1)
        features, tokens, values = self._features[own] - start, self._tokens[own], self._values[own]
        width, limits = maxima.shape[1], self.limits[start:stop]
        cells = features * width + tokens // self._window
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
        if everything is not None:
            everything.zero_()
            everything[features, tokens] = limits[features].stored(values[:, None])[:, 0]
        return Activity(pairs // width, pairs % width, windows)


def _tokens_at_once(tokens: int, features: int) -> int:
    """Tokens whose pre-activations of all features are made together: a divisor of a tile's, so that all products have one shape."""
    most = max(1, CODES // features)
    return next(size for size in range(min(tokens, most), 0, -1) if tokens % size == 0)


def make_encoder(
    dictionary: Dictionary, features: Tensor, dtype: torch.dtype, window: int, shape: TileShape, levels: Tensor | None = None
) -> Encoder:
    """The encoder that fits the dictionary. TopK always computes in float32: its choice of k is too close a call for less."""
    if dictionary.k is not None:
        return CodeEncoder(dictionary, features, window, shape, levels)
    return DenseEncoder(dictionary, features, dtype, window, shape, levels)
