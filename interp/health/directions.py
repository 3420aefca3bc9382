"""Directions of features, and random ones in their place."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interp.domain.check_report import Figure
from interp.domain.polarity import Polarity

COUNTED = "All features are counted: there is no error of sampling."


def random_directions(count: int, width: int, seed: int, polarity: Polarity = "positive") -> Tensor:
    """Return unit vectors float32 [F, D] of uniform direction; with both polarities in opposed pairs.

    They are normalised normal vectors (Muller, Commun. ACM 2, 1959). Opposed pairs are rows i and F/2 + i, as those of a dictionary.
    """
    pairs = polarity == "both"
    drawn = torch.randn(count // 2 if pairs else count, width, generator=torch.Generator().manual_seed(seed))
    unit = torch.nn.functional.normalize(drawn, dim=1)
    return torch.cat([unit, -unit]) if pairs else unit


def sample_features(features: NDArray[np.int64], size: int, seed: int) -> NDArray[np.int64]:
    """Return `size` features drawn without replacement, or all, ascending."""
    if len(features) <= size:
        return features
    return np.sort(np.random.default_rng(seed).choice(features, size, replace=False))


def mean_figure(values: NDArray[np.floating] | NDArray[np.bool_], population: float, undefined: str) -> Figure:
    """Return the mean of sampled features' values [S], with its standard error by features.

    The error is sqrt((1 - S/F) s² / S), s² the sample's variance, F the population of features (Cochran 1977, Sampling Techniques, 2.6): left out
    where all are taken. None with the reason `undefined` without values.
    """
    count = len(values)
    if not count:
        return Figure(None, why=undefined)
    mean = float(values.mean(dtype=np.float64))
    if count >= population:
        return Figure(mean, why=COUNTED)
    if count == 1:
        return Figure(mean, why="One feature was drawn: it has no spread.")
    return Figure(mean, float(np.sqrt((1 - count / population) * values.var(ddof=1, dtype=np.float64) / count)))


def share_figure(hits: NDArray[np.bool_], undefined: str) -> Figure:
    """Return the share of features with a property, bool [F]; None without features."""
    return Figure(float(hits.mean()), why=COUNTED) if len(hits) else Figure(None, why=undefined)
