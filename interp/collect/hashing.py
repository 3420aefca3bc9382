"""Hashes of (seed, feature, window) that decide samples, whatever the order and the shards.

A window has a 32-bit hash `a` of (seed, document id, start), a feature an odd 32-bit multiplier `m` of (seed, feature). The hash of the pair is `a *
m mod 2^32`, compared from its high bits down: multiply-shift hashing (Dietzfelbinger et al. 1997), at one integer multiplication per pair. For one
feature the multiplication is a bijection, so its hashes are as uniform and as independent over windows as the `a` are.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_UNIFORM_WINDOWS, _WEIGHTED_WINDOWS, _UNIFORM_FEATURES, _WEIGHTED_FEATURES = range(1, 5)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mix the bits of 64-bit words by splitmix64's finaliser, a bijection (Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        mixed = values + _GOLDEN
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))


def window_hashes(seed: int, documents: NDArray[np.uint64], starts: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return a hash of each document id and start, int32 [2, W]: uniform, weighted samples."""
    return np.stack([_words(_key(seed, salt), documents, starts.astype(np.uint64)) for salt in (_UNIFORM_WINDOWS, _WEIGHTED_WINDOWS)])


def feature_multipliers(seed: int, features: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return odd multipliers of feature indices, int32 [2, F]: for uniform, then weighted samples."""
    nothing = np.zeros(1, dtype=np.uint64)
    rows = [_words(_key(seed, salt), features.astype(np.uint64), nothing) for salt in (_UNIFORM_FEATURES, _WEIGHTED_FEATURES)]
    return np.stack(rows) | np.int32(1)


def exponential(hashes: Tensor) -> Tensor:
    """Map hashes int32 [N] to exponential draws float32 [N] of mean 1, precise near 0.

    With weights a, the k largest of `a / exponential` are a weighted sample without replacement: the same order as `u^(1/a)` (Efraimidis and Spirakis
    2006), since `u^(1/a) = exp(-E / a)`.
    """
    uniform = (hashes & 0x7FFFFFFF).to(torch.float32).add_(0.5).mul_(2.0**-31)
    return uniform.neg_().log1p_().neg_()


def _key(seed: int, salt: int) -> np.uint64:
    key: np.uint64 = mix(np.array([seed * 16 + salt], dtype=np.uint64))[0]
    return key


def _words(key: np.uint64, major: NDArray[np.uint64], minor: NDArray[np.uint64]) -> NDArray[np.int32]:
    """Return the high halves of the mixed (key, major, minor), as int32."""
    with np.errstate(over="ignore"):
        mixed = mix(mix(major ^ key) + minor)
    return (mixed >> np.uint64(32)).astype(np.uint32).view(np.int32)
