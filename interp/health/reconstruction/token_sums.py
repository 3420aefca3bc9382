"""Sums over tokens of what a target and its reconstruction have in common, by unit."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interp.collect.measure.ratio import Floats
from interp.collect.measure.reconstruction import double

Quantity = Callable[[Tensor, Tensor, Tensor], Tensor]


def _dot(one: Tensor, other: Tensor) -> Tensor:
    return (one * other).sum(1)


def _where(is_defined: Tensor, top: Tensor, bottom: Tensor) -> Tensor:
    return torch.where(is_defined, top / bottom, 0.0)


# Of targets `[N, D]`, reconstructions `[N, D]` and the targets' mean `[D]`, `[N]` each. A zero vector has no angle, and nothing is in ratio to it.
QUANTITIES: dict[str, Quantity] = {
    "tokens": lambda x, _o, _m: torch.ones_like(x[:, 0]),
    "error": lambda x, o, _m: (x - o).square().sum(1),
    "target": lambda x, _o, _m: x.square().sum(1),
    "output": lambda _x, o, _m: o.square().sum(1),
    "dot": lambda x, o, _m: _dot(x, o),
    "centred_target": lambda x, _o, m: (x - m).square().sum(1),
    "centred_output": lambda _x, o, m: (o - m).square().sum(1),
    "centred_dot": lambda x, o, m: _dot(x - m, o - m),
    "angles": lambda x, o, _m: (x.any(1) & o.any(1)).double(),
    "cosine": lambda x, o, _m: _where(x.any(1) & o.any(1), _dot(x, o), x.norm(dim=1) * o.norm(dim=1)),
    "norms": lambda x, _o, _m: x.any(1).double(),
    "norm_ratio": lambda x, o, _m: _where(x.any(1), o.norm(dim=1), x.norm(dim=1)),
}


class TokenSums:
    """Sums of `QUANTITIES` by unit, float64 `[U]`; `centre` `[D]` is the targets' mean."""

    def __init__(self, units: int, centre: Tensor) -> None:
        self._sums: dict[str, Floats] = {name: np.zeros(units) for name in QUANTITIES}
        self._centre = double(centre)

    def add(self, units: NDArray[np.int64], target: Tensor, output: Tensor) -> None:
        """Add targets and reconstructions `[N, D]` of tokens of these units `[N]`."""
        x, reconstructed = double(target), double(output)
        for name, quantity in QUANTITIES.items():
            self._sums[name] += np.bincount(units, quantity(x, reconstructed, self._centre).cpu().numpy(), len(self._sums[name]))

    def __getitem__(self, name: str) -> Floats:
        return self._sums[name]
