"""Which of the test windows a language model is asked about: each costs something, so a seeded part of them."""

import numpy as np
from numpy.typing import NDArray

from interp.domain.evidence import ContextKind
from interp.score.items.test_items import Questions

Rows = NDArray[np.intp]

# Of the silent windows that are asked about, so many are near misses where there are so many.
NEAR_MISS_SHARE = 0.25


def sample(questions: Questions, positives: int, negatives: int, seed: int, feature: int) -> Questions:
    """At most so many firing and silent windows, drawn by (seed, feature), in the order of `questions`.

    Firing ones half from the uniform and half from the weighted sample, silent ones a quarter near misses; where one kind has too few, the other
    fills up. Windows kept only as top ones are left out. A window's chance depends on its kind alone, never on a document or on what was said; and
    those that count as uniform or inactive are a uniform part of all that do, so that precision at the true rate stays unbiased.
    """
    random = np.random.default_rng((seed, feature))
    uniform, weighted = questions.kept[ContextKind.UNIFORM], questions.kept[ContextKind.WEIGHTED] & ~questions.kept[ContextKind.UNIFORM]
    inactive, near = questions.kept[ContextKind.INACTIVE], questions.kept[ContextKind.NEAR_MISS] & ~questions.kept[ContextKind.INACTIVE]
    keep = np.zeros(len(questions), dtype=np.bool_)
    keep[_drawn(np.flatnonzero(uniform), np.flatnonzero(weighted), positives, positives // 2, random)] = True
    keep[_drawn(np.flatnonzero(inactive), np.flatnonzero(near), negatives, round(negatives * NEAR_MISS_SHARE), random)] = True
    return questions.select(keep)


def _drawn(first: Rows, second: Rows, count: int, from_second: int, random: np.random.Generator) -> Rows:
    """`count` rows, `from_second` of them of the second kind, as far as both reach."""
    first, second = random.permutation(first), random.permutation(second)
    taken = min(from_second, len(second))
    taken = min(len(second), max(taken, count - len(first)))
    return np.concatenate([first[: count - taken], second[:taken]])
