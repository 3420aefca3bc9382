"""Tree of merges of partial results, in which each step reads a bounded number."""

from collections.abc import Sequence
from dataclasses import dataclass


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


@dataclass(frozen=True, slots=True, eq=False)
class _Node:
    last_leaf: int
    depth: int
    children: "tuple[_Node, ...]" = ()


def merge_tree(leaves: int, fan_in: int) -> MergeTree:
    """Return the tree over leaves 0 to `leaves - 1`, each level spread evenly.

    Steps are numbered in the order in which they become possible when leaves come in order. So workers that take the lowest number first store at
    most `fan_in` parts per level of the tree, whatever the number of leaves.
    """
    level = [_Node(leaf, 0) for leaf in range(leaves)]
    nodes: list[_Node] = []
    depth = 0
    while len(level) > fan_in:
        depth += 1
        level = [_Node(children[-1].last_leaf, depth, tuple(children)) for children in _evenly(level, -(-len(level) // fan_in))]
        nodes += level
    nodes.sort(key=lambda node: (node.last_leaf, node.depth))
    numbers = {id(node): number for number, node in enumerate(nodes)}

    def parts(children: Sequence[_Node]) -> tuple[Part, ...]:
        return tuple(Part(True, numbers[id(node)]) if node.depth else Part(False, node.last_leaf) for node in children)

    return MergeTree(tuple(parts(node.children) for node in nodes), parts(level))


def _evenly(nodes: Sequence[_Node], groups: int) -> list[Sequence[_Node]]:
    """Return adjacent groups whose sizes differ by at most one."""
    edges = [len(nodes) * group // groups for group in range(groups + 1)]
    return [nodes[edges[group] : edges[group + 1]] for group in range(groups)]
