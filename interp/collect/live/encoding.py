"""Feature activations at given tokens, to the last bit as collection stores them."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from interp.collect.encode import DTYPES, MASKED, DenseEncoder, TileShape, TopKEncoder
from interp.collect.live.reading import ReadText
from interp.collect.window_batches import WindowBatch, Windows
from interp.dictionary.module import Dictionary
from interp.domain.spec import CollectionSpec


class TokenEncoder:
    """A dictionary at the N tokens of texts, by tiles of features.

    `counted` is bool [N]; the texts follow one another.
    """

    def __init__(self, dictionary: Dictionary, spec: CollectionSpec, texts: Sequence[ReadText]) -> None:
        device = texts[0].x.device
        self._dictionary, self._dtype, self._window = dictionary, DTYPES[spec.encode_dtype], spec.window
        self._shape = TileShape.of(device, spec.window)
        x = torch.cat([text.x for text in texts])
        self.counted = torch.cat([torch.from_numpy(text.counted) for text in texts]).to(device)
        self._batch = _batch_of(x, self.counted, self._shape.tokens, spec.window)
        self._codes = _Codes(dictionary, self._batch, spec.window, self._shape) if dictionary.k is not None else None

    @torch.inference_mode()
    def activations(self, features: Tensor, levels: Tensor | None = None) -> Tensor:
        """Return activations float16 [F, N] of features int64 [F], at most one tile.

        They are 0 where a token does not count. `levels` float32 [F] are firing levels, which decide how a value just above one is rounded.
        """
        # A tile holds other features in collection: neither they nor the place in the tile change a feature's sums.
        encoder = DenseEncoder(self._dictionary, features, self._dtype, self._window, self._shape, levels)
        if self._codes is not None:
            values = self._codes.values(features)
        else:
            encoder.begin(self._batch)
            values = encoder.values(0, len(features))
        values = values[:, : len(self.counted)]
        values[:, ~self.counted] = MASKED
        return encoder.limits.stored(values)

    def tiles(self) -> Iterator[tuple[int, Tensor]]:
        """Yield the first feature and the activations float16 [F, N] of tiles that cover all."""
        total, device = self._dictionary.n_features, self.counted.device
        for first in range(0, total, self._shape.features):
            features = torch.arange(first, min(first + self._shape.features, total), device=device)
            yield first, self.activations(features)

    def chosen(self, features: Tensor, levels: Tensor | None = None) -> Tensor:
        """Return activations float16 [F, N] of any number of features int64 [F]."""
        parts = [self.counted.new_zeros((0, len(self.counted)), dtype=torch.float16)]
        for first in range(0, len(features), self._shape.features):
            own = slice(first, first + self._shape.features)
            parts.append(self.activations(features[own], None if levels is None else levels[own]))
        return torch.cat(parts)


class _Codes:
    """Values of a TopK dictionary, which ranks all features at a token, by feature."""

    def __init__(self, dictionary: Dictionary, batch: WindowBatch, window: int, shape: TileShape) -> None:
        every = torch.arange(dictionary.n_features, device=batch.x.device)
        encoder = TopKEncoder(dictionary, every, window, shape)
        encoder.begin(batch)
        self._features, self._tokens, self._values = encoder.codes
        self._places = torch.full((dictionary.n_features,), -1, dtype=torch.int64, device=batch.x.device)
        self._count = batch.tokens

    def values(self, features: Tensor) -> Tensor:
        """Return values float32 [F, tokens], 0 where a feature is not among the k."""
        self._places.fill_(-1)
        self._places[features] = torch.arange(len(features), device=features.device)
        places = self._places[self._features]
        own = (places >= 0).nonzero().squeeze(1)
        found = torch.zeros((len(features), self._count), device=features.device)
        found[places[own], self._tokens[own]] = self._values[own]
        return found


def _batch_of(x: Tensor, counted: Tensor, tile_tokens: int, window: int) -> WindowBatch:
    """Return x [N, D] padded to whole tiles, as the encoders read it."""
    padded = max(1, -(-len(x) // tile_tokens)) * tile_tokens
    rows = x.new_zeros((padded, x.shape[1]))
    rows[: len(x)] = x
    masked = torch.ones(padded, dtype=torch.bool, device=x.device)
    masked[: len(x)] = ~counted
    windows = Windows(
        torch.zeros(padded // window, dtype=torch.int64, device=x.device),
        torch.zeros((2, padded // window), dtype=torch.int32, device=x.device),
        ~masked.view(-1, window),
    )
    return WindowBatch(0, windows, rows, masked)
