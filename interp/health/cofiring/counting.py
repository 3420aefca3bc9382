"""Counts of features that fire at the same token, at sampled tokens."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interp.collect.hashing import mix
from interp.health.counts import Counts
from interp.health.firing import GROUPS, FiringBatch

# One token of so many, spread evenly over each window from a start that its hash decides.
STRIDE = 32
# Features whose pairs are all counted: 64 MiB of counts.
MOST_FEATURES = 4096
# Pairs that are listed and added at once: some 100 MB.
PAIRS_AT_ONCE = 1 << 21
# Cost of one listed pair, in multiplications of a dense product.
PAIR_COST = 1000

Ints = NDArray[np.int64]


def subset_of(features: Ints, seed: int, most: int = MOST_FEATURES) -> Ints:
    """Return rows of a random sample of features, ascending: those of the smallest hashes."""
    key = mix(np.array([seed], dtype=np.uint64))
    hashes = mix(features.astype(np.uint64) ^ key)
    return np.sort(np.argsort(hashes, kind="stable")[:most]).astype(np.int64)


class Cofiring:
    """Accumulator of firings of pairs of features at sampled tokens; exact sums, in any order.

    Of S features, M are in the subset and n are each one's nearest. tokens int64 `[G]` by group of documents; firing int32 `[S, G]`; together int32
    `[M, M]`, above the diagonal: tokens at which two of the subset fire; near int64 `[S, n]`: tokens at which a feature and its neighbour fire. The
    memory is flat in tokens; int32 holds 2^31 sampled tokens.
    """

    def __init__(self, features: Ints, neighbours: Ints, device: torch.device, seed: int = 0, origin: str = "", stride: int = STRIDE) -> None:
        """Count features int64 `[S]` and their neighbours int64 `[S, n]`.

        Neighbours are rows, beyond S - 1 for features that are not counted. One token of `stride` is sampled.
        """
        self._features, self._neighbours, self._stride, self._origin = features, neighbours, stride, origin
        self._subset = subset_of(features, seed)
        count, size = len(features), len(self._subset)
        self._rows = torch.from_numpy(np.minimum(neighbours, count)).to(device)
        self._members = torch.from_numpy(self._subset).to(device)
        self._places = torch.full((count,), -1, dtype=torch.int64, device=device)
        self._places[self._members] = torch.arange(size, device=device)
        self._tokens = torch.zeros(GROUPS, dtype=torch.int64, device=device)
        self._firing = torch.zeros((count, GROUPS), dtype=torch.int32, device=device)
        self._together = torch.zeros((size, size), dtype=torch.int32, device=device)
        self._near = torch.zeros(neighbours.shape, dtype=torch.int64, device=device)

    def add(self, batch: FiringBatch) -> None:
        """Count the sampled tokens of a batch."""
        sampled = (batch.kinds >= 0) & (batch.picks % self._stride == 0)
        groups = batch.groups[sampled]
        self._tokens += torch.bincount(groups, minlength=GROUPS)
        own = sampled.index_select(0, batch.cells).nonzero().squeeze(1)
        features = batch.features.index_select(0, own)
        tokens = (sampled.cumsum(0) - 1).index_select(0, batch.cells.index_select(0, own))
        spots = features * GROUPS + groups.index_select(0, tokens)
        self._firing.view(-1).scatter_add_(0, spots, torch.ones_like(spots, dtype=torch.int32))
        # A column of features that are not counted, which never fire.
        fires = torch.zeros((len(groups), len(self._features) + 1), dtype=torch.bool, device=features.device)
        fires[tokens, features] = True
        self._add_near(fires, tokens, features)
        self._add_together(fires, tokens, self._places.index_select(0, features))

    def _add_near(self, fires: Tensor, tokens: Tensor, features: Tensor) -> None:
        both = fires[tokens[:, None], self._rows.index_select(0, features)]
        self._near.index_add_(0, features, both.to(torch.int64))

    def _add_together(self, fires: Tensor, tokens: Tensor, places: Tensor) -> None:
        """Add pairs by listing them, or by a dense product where it is cheaper."""
        inside = (places >= 0).nonzero().squeeze(1)
        keys = (tokens.index_select(0, inside) * len(self._subset) + places.index_select(0, inside)).sort().values
        tokens, places = keys // max(len(self._subset), 1), keys % max(len(self._subset), 1)
        counts = torch.bincount(tokens, minlength=len(fires))
        # A firing is paired with those before it at its token, whose places are smaller.
        before = torch.arange(len(tokens), device=tokens.device) - (counts.cumsum(0) - counts).index_select(0, tokens)
        pairs = int(before.sum())
        if pairs * PAIR_COST > 2 * len(fires) * len(self._subset) ** 2:
            masks = fires.index_select(1, self._members).to(torch.float32)
            self._together += (masks.T @ masks).triu_(1).to(torch.int32)
            return
        for part in torch.split(torch.arange(len(tokens), device=tokens.device), max(1, PAIRS_AT_ONCE // max(1, int(before.max() if pairs else 1)))):
            self._list_pairs(places, part, before.index_select(0, part))

    def _list_pairs(self, places: Tensor, part: Tensor, before: Tensor) -> None:
        later = torch.repeat_interleave(part, before)
        within = torch.arange(len(later), device=part.device) - torch.repeat_interleave(before.cumsum(0) - before, before)
        earlier = torch.repeat_interleave(part - before, before) + within
        spots = places.index_select(0, earlier) * len(self._subset) + places.index_select(0, later)
        self._together.view(-1).scatter_add_(0, spots, torch.ones(len(spots), dtype=torch.int32, device=part.device))

    def counts(self) -> Counts:
        """Return the counts so far, to be saved, merged and reported."""
        sums = {"tokens": self._tokens, "firing": self._firing, "together": self._together, "near": self._near}
        fixed: dict[str, NDArray[Any]] = {"features": self._features, "neighbours": self._neighbours, "subset": self._subset}
        return Counts({"origin": self._origin, "stride": self._stride}, fixed, {name: tensor.cpu().numpy().copy() for name, tensor in sums.items()})
