"""Sparse features in superposition: what is true, the tokens that carry it, and a toy model that embeds them in fewer dimensions.

Source: Elhage et al. 2022, Toy Models of Superposition, transformer-circuits.pub/2022/toy_model.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Floats = NDArray[np.float32]
# Strengths of a feature that is on.
WEAKEST, STRONGEST = 0.5, 1.5


@dataclass(frozen=True)
class World:
    """Numbers of features, dimensions and composite pairs, and the chance that each is on.

    Features 2i and 2i + 1 of the first `pairs` pairs are also on together at one strength with the chance `together`: the composite.
    """

    features: int = 64
    width: int = 24
    pairs: int = 8
    alone: float = 0.02
    together: float = 0.04
    seed: int = 0

    @property
    def composites(self) -> list[tuple[int, int]]:
        return [(2 * pair, 2 * pair + 1) for pair in range(self.pairs)]


def strengths(world: World, count: int, rng: np.random.Generator) -> Floats:
    """Return strengths float32 `[count, n]` of the features, each 0 where it is off."""

    def drawn(columns: int, chance: float) -> NDArray[np.float64]:
        return rng.uniform(WEAKEST, STRONGEST, (count, columns)) * (rng.random((count, columns)) < chance)

    found = drawn(world.features, world.alone)
    both = drawn(world.pairs, world.together)
    for side in (0, 1):
        columns = slice(side, 2 * world.pairs, 2)
        found[:, columns] = np.where(both > 0, both, found[:, columns])
    return found.astype(np.float32)


def tokens(world: World, count: int) -> tuple[list[str], Floats]:
    """Return at most `count` texts of tokens, as `3+17` for features 3 and 17, and strengths `[V, n]`; no two tokens have the same features."""
    drawn = strengths(world, 4 * count, np.random.default_rng(world.seed))
    names = ["+".join(map(str, np.flatnonzero(row))) for row in drawn]
    first = dict(zip(reversed(names), reversed(range(len(names))), strict=True))
    kept = sorted(place for name, place in first.items() if name)[:count]
    return [names[place] for place in kept], drawn[kept]


def embed(world: World, steps: int = 2000, batch: int = 1024, rate: float = 1e-2) -> Tensor:
    """Return W float32 `[n, D]` of the toy model x' = ReLU(x W Wᵀ + b), trained to give x back: a row is a feature's direction."""
    torch.manual_seed(world.seed)
    rng = np.random.default_rng(world.seed + 1)
    weights = nn.Parameter(torch.randn(world.features, world.width) / world.width**0.5)
    bias = nn.Parameter(torch.zeros(world.features))
    optimiser = torch.optim.Adam([weights, bias], lr=rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.01, steps)
    for _ in range(steps):
        x = torch.from_numpy(strengths(world, batch, rng))
        loss = (x - torch.relu(x @ weights @ weights.T + bias)).square().sum(1).mean()
        loss.backward()
        optimiser.step()
        schedule.step()
        optimiser.zero_grad(set_to_none=True)
    return weights.detach()
