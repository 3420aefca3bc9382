"""Tree of merges of partial results, in which each step reads a bounded number."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Part:
    """An input of a step: a leaf, or the result of an earlier step."""

    is_step: bool
    number: int


@dataclass(frozen=True, slots=True)
class MergeTree:
    """Inputs of each step (`steps[k]`), and the at most `fan_in` remaining parts (`top`).

    The inputs of a step are all leaves or all steps, and adjacent: all between the first and the last of them are inputs, too.
    """

    steps: tuple[tuple[Part, ...], ...]
    top: tuple[Part, ...]


def merge_tree(leaves: int, fan_in: int) -> MergeTree:
    """Return the tree over leaves 0 to `leaves - 1`, each level spread evenly.

    Steps are numbered in the order in which they become possible when leaves come in order. So workers that take the lowest number first store at
    most `fan_in` parts per level of the tree, whatever the number of leaves.
    """
    # A part by its last leaf and its level, which are its place in that order, too.
    level = [(leaf, 0) for leaf in range(leaves)]
    inputs: dict[tuple[int, int], list[tuple[int, int]]] = {}
    while len(level) > fan_in:
        groups = _evenly(level, -(-len(level) // fan_in))
        level = [(last, depth + 1) for *_, (last, depth) in groups]
        inputs |= zip(level, groups, strict=True)
    steps = sorted(inputs)
    numbers = {step: number for number, step in enumerate(steps)}

    def parts(level: Sequence[tuple[int, int]]) -> tuple[Part, ...]:
        return tuple(Part(True, numbers[part]) if part in numbers else Part(False, part[0]) for part in level)

    return MergeTree(tuple(parts(inputs[step]) for step in steps), parts(level))


def _evenly(level: list[tuple[int, int]], groups: int) -> list[list[tuple[int, int]]]:
    """Return adjacent groups whose sizes differ by at most one."""
    edges = [len(level) * group // groups for group in range(groups + 1)]
    return [level[first:stop] for first, stop in pairwise(edges)]
