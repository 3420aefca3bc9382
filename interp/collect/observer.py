"""What an observer of a collection sees: windows, and the tokens at which features fire."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from interp.collect.window_batches import Windows


@dataclass(frozen=True)
class Firing:
    """N firings, unordered, of features at counted tokens of W windows of one split.

    features int64 [N]  rows of the collected features
    cells    int64 [N]  window * tokens a window + place of the token in its window
    """

    windows: Windows
    features: Tensor
    cells: Tensor


class Observer(Protocol):
    """Reader of every batch of a collection; it changes no evidence."""

    def add(self, firing: Firing) -> None:
        """Read a batch; `firing.windows` is valid during the call, the rest is the observer's."""
        ...


def joined(windows: Windows, parts: list[tuple[Tensor, Tensor]]) -> Firing:
    """Join features and cells of all blocks."""
    features, cells = zip(*parts, strict=True)
    return Firing(windows, torch.cat(features), torch.cat(cells))
