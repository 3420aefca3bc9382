"""Windows on their way from the subject to the encoder: rows come in, full batches of windows of one split go out."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Windows:
    """What is known of W windows before their activations are.

    ordinals int64 [W]          see `interp.collect.rows.layout`
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
    """Windows of one split with their activations. `x` [W' * window, D] has windows to spare behind the W real ones, so that its shape fits tiles."""

    split: int
    windows: Windows
    x: Tensor
    masked: Tensor  # bool [W' * window]

    @property
    def tokens(self) -> int:
        return len(self.x)


class WindowStaging:
    """Gathers windows of one split until there are `capacity` of them."""

    def __init__(self, split: int, capacity: int, tile_tokens: int, window: int, d_in: int, device: torch.device) -> None:
        self.split, self.window, self.tile_tokens = split, window, tile_tokens
        self._x = torch.zeros((capacity, window * d_in), device=device)
        self._ordinals = torch.zeros(capacity, dtype=torch.int64, device=device)
        self._hashes = torch.zeros((2, capacity), dtype=torch.int32, device=device)
        self._counted = torch.zeros((capacity, window), dtype=torch.bool, device=device)
        self.count = 0

    @property
    def room(self) -> int:
        """Windows that still fit."""
        return len(self._ordinals) - self.count

    def put(self, x: Tensor, windows: Windows) -> None:
        """Copies at most `room` windows in. `x` [W, window * D]."""
        spots = slice(self.count, self.count + len(windows))
        self._x[spots] = x
        self._ordinals[spots] = windows.ordinals
        self._hashes[:, spots] = windows.hashes
        self._counted[spots] = windows.counted
        self.count = spots.stop

    def take(self) -> WindowBatch:
        """What has gathered; the memory is used again by the next `put`."""
        windows, tokens = self.count, self.count * self.window
        padded = -(-tokens // self.tile_tokens) * self.tile_tokens // self.window
        self._counted[windows:padded] = False
        self.count = 0
        return WindowBatch(
            split=self.split,
            windows=Windows(self._ordinals[:windows], self._hashes[:, :windows], self._counted[:windows]),
            x=self._x[:padded].view(padded * self.window, -1),
            masked=~self._counted[:padded].view(-1),
        )
