"""Draw a seeded sample of test windows for a language model."""

import hashlib

import numpy as np

from interp.domain.spec import ScorerSpec
from interp.score.items.test_set import Rows, TestSet

# Default numbers of firing and silent windows.
POSITIVES, NEGATIVES = 20, 20
# Share of near misses among the silent windows, where there are enough.
NEAR_MISS_SHARE = 0.25


def seed_of(*parts: object) -> int:
    """Return a seed of 63 bits that depends on the parts alone."""
    text = "\x1f".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


def counts_of(spec: ScorerSpec, positives: int = POSITIVES, negatives: int = NEGATIVES) -> tuple[int, int]:
    """Return the maximum numbers of firing and silent windows, from the options or defaults."""
    return spec.positives or positives, spec.negatives or negatives


def sample(test_set: TestSet, positives: int, negatives: int, seed: int, feature: int) -> TestSet:
    """Return at most so many firing and silent windows, drawn by (seed, feature).

    They are in the order of the test set. Half of the firing ones are from the uniform and half from the weighted sample, and a quarter of the silent
    ones are near misses. Where one kind has too few, the other fills up. Windows kept only as top ones are left out. A window's chance depends on its
    kind alone, never on a document or an answer. The uniform and inactive windows are a uniform part of all such, so that precision at the true rate
    stays unbiased.
    """
    random = np.random.default_rng((seed, feature))
    groups = test_set.groups
    keep = np.zeros(len(test_set), dtype=np.bool_)
    weighted, near = groups["weighted"] & ~groups["uniform"], groups["near_miss"] & ~groups["inactive"]
    keep[_drawn(np.flatnonzero(groups["uniform"]), np.flatnonzero(weighted), positives, positives // 2, random)] = True
    keep[_drawn(np.flatnonzero(groups["inactive"]), np.flatnonzero(near), negatives, round(negatives * NEAR_MISS_SHARE), random)] = True
    return test_set.select(keep)


def _drawn(first: Rows, second: Rows, count: int, from_second: int, random: np.random.Generator) -> Rows:
    """Draw `count` rows, `from_second` of them of `second`, as far as both suffice."""
    first, second = random.permutation(first), random.permutation(second)
    taken = min(from_second, len(second))
    taken = min(len(second), max(taken, count - len(first)))
    return np.concatenate([first[: count - taken], second[:taken]])
