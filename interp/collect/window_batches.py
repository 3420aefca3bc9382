"""Batches of windows of one split, from batches of rows to the encoder."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Windows:
    """Columns of W windows without their activations.

    ordinals int64 [W]          see `interp.collect.layout`
    hashes   int32 [2, W]       see `interp.collect.hashing`
    counted  bool  [W, window]  false at special tokens and at padding: these are in no statistic
    """

    ordinals: Tensor
    hashes: Tensor
    counted: Tensor

    def select(self, keep: Tensor | slice) -> "Windows":
        return Windows(self.ordinals[keep], self.hashes[:, keep], self.counted[keep])

    def __len__(self) -> int:
        return len(self.ordinals)


@dataclass(frozen=True)
class WindowBatch:
    """W windows of one split, activations `x` [W' * window, D] padded to whole tiles."""

    split: int
    windows: Windows
    x: Tensor
    masked: Tensor  # bool [W' * window]

    @property
    def tokens(self) -> int:
        return len(self.x)


class WindowBuffer:
    """A buffer of up to `capacity` windows of one split."""

    def __init__(self, split: int, capacity: int, tile_tokens: int, window: int, d_in: int, device: torch.device) -> None:
        self._split, self._window, self._tile_tokens = split, window, tile_tokens
        self._x = torch.zeros((capacity, window * d_in), device=device)
        self._windows = Windows(
            torch.zeros(capacity, dtype=torch.int64, device=device),
            torch.zeros((2, capacity), dtype=torch.int32, device=device),
            torch.zeros((capacity, window), dtype=torch.bool, device=device),
        )
        self.count = 0

    @property
    def free(self) -> int:
        """Return the number of windows that still fit."""
        return len(self._windows) - self.count

    def put(self, x: Tensor, windows: Windows) -> None:
        """Append at most `free` windows, with `x` [W, window * D]."""
        places = slice(self.count, self.count + len(windows))
        self._x[places] = x
        self._windows.ordinals[places] = windows.ordinals
        self._windows.hashes[:, places] = windows.hashes
        self._windows.counted[places] = windows.counted
        self.count = places.stop

    def take(self) -> WindowBatch:
        """Return the buffer's content as a batch, whose memory the next `put` reuses."""
        count, tokens = self.count, self.count * self._window
        padded = -(-tokens // self._tile_tokens) * self._tile_tokens // self._window
        self._windows.counted[count:padded] = False
        self.count = 0
        return WindowBatch(
            split=self._split,
            windows=self._windows.select(slice(count)),
            x=self._x[:padded].view(padded * self._window, -1),
            masked=~self._windows.counted[:padded].view(-1),
        )
