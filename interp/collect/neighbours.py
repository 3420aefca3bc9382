"""Facts of the decoder alone: nearest features, and the output tokens that a feature promotes and suppresses."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interp.collect.collector import FeatureSelection
from interp.collect.encode import pad
from interp.dictionary.module import Dictionary

BLOCK = 256


@torch.inference_mode()
def nearest(directions: Tensor, features: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the `count` nearest features of features int64 [S], by the cosine of decoder directions float32 [F, D], best first.

    Returns indices int64 [S, n] and cosines float32 [S, n]; n is smaller than `count` only in a dictionary of fewer features. The result of a feature
    does not depend on the others: the rounding of a product depends on the shape of its matrices, so blocks are filled up to one shape, and the
    chosen pairs are multiplied again alone.
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
def output_effects(directions: Tensor, outputs: Tensor, count: int) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Yield how far decoder directions float32 [S, D], through outputs float32 [D, V], move the logits of tokens (logit lens).

    Yields (promoted tokens, their logits, suppressed tokens, their logits) for `BLOCK` features at a time, each [block, count], strongest first.
    The result of a feature does not depend on the others: blocks are filled up to one shape.
    """
    count = min(count, outputs.shape[1])
    for block in torch.split(directions.to(torch.float32), BLOCK):
        logits = (pad(block, BLOCK) @ outputs)[: len(block)]
        up, promoted = logits.topk(count, dim=1)
        down, suppressed = logits.topk(count, dim=1, largest=False)
        yield promoted, up, suppressed, down


def select_features(dictionary: Dictionary, features: NDArray[np.int64], near_miss_neighbours: int) -> FeatureSelection:
    """Return the features with their nearest neighbours. Opposed neighbours (negative cosine) make no near miss."""
    indices, cosines = nearest(dictionary.W_dec, torch.from_numpy(features).to(dictionary.W_dec.device), near_miss_neighbours)
    neighbours = indices.cpu().numpy()
    encoded = np.concatenate([features, np.setdiff1d(neighbours, features)])
    order = np.argsort(encoded)
    rows = order[np.searchsorted(encoded, neighbours, sorter=order)]
    return FeatureSelection(encoded, rows.astype(np.int64), cosines.clamp(min=0).cpu().numpy())
