"""Assign windows to prompts and to places in them."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np


def prompts_of(groups: Sequence[int], per_prompt: int, seed: int) -> list[list[int]]:
    """Return the places 0..N-1 of `groups` [N] in prompts, each once, drawn by seed.

    A prompt has at most `per_prompt` places, and lengths differ by one at most. Each group (say, the firing windows) is spread evenly over prompts
    and over positions, with two groups to within one. The positions of a group in one prompt are uniformly random, so their order does not reveal the
    group.
    """
    return [list(prompt) for prompt in _dealt(tuple(groups), per_prompt, seed)]


@lru_cache(maxsize=256)
def _dealt(groups: tuple[int, ...], per_prompt: int, seed: int) -> tuple[tuple[int, ...], ...]:
    """Return the prompts, cached since all explanations of a feature share them."""
    if not groups:
        return ()
    random = np.random.default_rng(seed)
    numbers = np.asarray(groups, dtype=np.int64)
    dealt = _interleaved(numbers, random)
    rows = np.array_split(dealt, -(-len(numbers) // per_prompt))
    kinds, sizes = np.unique(numbers, return_counts=True)
    order = kinds[np.argsort(sizes, kind="stable")]
    used = {int(kind): np.zeros(len(rows[0]), dtype=np.int64) for kind in order}
    return tuple(_arranged(rows[row], numbers, used, random) for row in random.permutation(len(rows)))


def _interleaved(numbers: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Spread each group evenly: member j is at (j + u) / n."""
    keys = np.empty(len(numbers))
    for kind in np.unique(numbers):
        members = random.permutation(np.flatnonzero(numbers == kind))
        keys[members] = (np.arange(len(members)) + random.random()) / len(members)
    return np.argsort(keys, kind="stable")


def _arranged(row: np.ndarray, numbers: np.ndarray, used: dict[int, np.ndarray], random: np.random.Generator) -> tuple[int, ...]:
    """Return one prompt's order: a group takes its least used free positions, ties random."""
    positions = np.full(len(row), -1, dtype=np.int64)
    for kind, counts in used.items():
        members = random.permutation(row[numbers[row] == kind])
        free = random.permutation(np.flatnonzero(positions < 0))
        taken = free[np.argsort(counts[free], kind="stable")][: len(members)]
        positions[taken] = members
        counts[taken] += 1
    return tuple(positions.tolist())
