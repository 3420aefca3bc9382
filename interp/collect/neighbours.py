"""Facts of the decoder: nearest features, and promoted and suppressed output tokens."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interp.collect.encode import pad
from interp.dictionary.module import Dictionary

BLOCK = 256


@dataclass(frozen=True)
class FeatureSelection:
    """Features to collect, and their neighbours for near misses.

    encoded    int64   [E]     features to encode: first the S collected ones, ascending, then those that are neighbours only
    neighbours int64   [S, n]  rows of `encoded`: the nearest features of each collected one
    cosines    float32 [S, n]  of the decoder directions; not negative
    """

    encoded: NDArray[np.int64]
    neighbours: NDArray[np.int64]
    cosines: NDArray[np.float32]


@torch.inference_mode()
def nearest(directions: Tensor, features: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return indices int64 [S, n] and cosines float32 [S, n] of nearest features, best first.

    `features` is int64 [S], `directions` (of the decoder) float32 [F, D]; n is below `count` only in a dictionary of fewer features. A feature's
    result does not depend on the others: rounding depends on the shape of matrices, so blocks are padded to one shape, and the chosen pairs are
    multiplied again alone.
    """
    unit = torch.nn.functional.normalize(directions.to(torch.float32), dim=1)
    count = min(count, len(unit) - 1)
    found: list[tuple[Tensor, Tensor]] = []
    for block in torch.split(features, BLOCK):
        cosines = (pad(unit[block], BLOCK) @ unit.T)[: len(block)]
        cosines.scatter_(1, block[:, None], -torch.inf)
        indices = cosines.topk(count, dim=1).indices
        pairs = unit[block][:, None].double() * unit[indices].double()
        found.append((indices, pairs.sum(dim=2).float()))
    return torch.cat([indices for indices, _ in found]), torch.cat([best for _, best in found])


@torch.inference_mode()
def output_effects(writes: Sequence[tuple[Tensor, Tensor]], count: int) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Yield the effects of decoder directions on logits (logit lens), summed over where they write.

    `writes` are pairs of directions float32 [S, D] and the effect of their axes on logits float32 [D, V], one or more. Yields (promoted tokens, their
    logits, suppressed tokens, their logits) for `BLOCK` features at a time, each [block, count], strongest first. A feature's result does not depend
    on the others: blocks are padded to one shape.
    """
    count = min(count, writes[0][1].shape[1])
    for first in range(0, len(writes[0][0]), BLOCK):
        blocks = [(directions[first : first + BLOCK].to(torch.float32), outputs) for directions, outputs in writes]
        logits = sum((pad(block, BLOCK) @ outputs for block, outputs in blocks[1:]), pad(blocks[0][0], BLOCK) @ blocks[0][1])[: len(blocks[0][0])]
        up, promoted = logits.topk(count, dim=1)
        down, suppressed = logits.topk(count, dim=1, largest=False)
        yield promoted, up, suppressed, down


def select_features(dictionary: Dictionary, features: NDArray[np.int64], near_miss_neighbours: int) -> FeatureSelection:
    """Return the features with their nearest neighbours, without opposed ones (negative cosine)."""
    indices, cosines = nearest(dictionary.W_dec, torch.from_numpy(features).to(dictionary.W_dec.device), near_miss_neighbours)
    neighbours = indices.cpu().numpy()
    encoded = np.concatenate([features, np.setdiff1d(neighbours, features)])
    order = np.argsort(encoded)
    rows = order[np.searchsorted(encoded, neighbours, sorter=order)]
    return FeatureSelection(encoded, rows.astype(np.int64), cosines.clamp(min=0).cpu().numpy())
