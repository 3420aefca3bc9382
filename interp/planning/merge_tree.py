"""How many partial results become few: a tree in which no step reads more than so many. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """Something to be put together with others: a leaf (`node` is False), or what a step of the tree gave."""

    node: bool
    number: int


@dataclass(frozen=True, slots=True)
class Fold:
    """`steps[k]` are the parts that step k puts together, leaves or steps before it; `top` are the parts that remain, `fan_in` at most.

    The parts of a step are all leaves or all steps; what stands between the first and the last of them belongs to that step, too.
    """

    steps: tuple[tuple[Part, ...], ...]
    top: tuple[Part, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Knot:
    last: int  # the last leaf under it
    depth: int
    below: "tuple[_Knot, ...]" = ()


def fold(leaves: int, fan_in: int) -> Fold:
    """The tree over leaves 0 to `leaves - 1`, each level spread evenly.

    Steps are numbered in the order in which they can be taken when leaves come in their order, so that whoever takes the lowest number first
    needs room for `fan_in` parts a level of the tree, whatever the number of leaves.
    """
    level = [_Knot(leaf, 0) for leaf in range(leaves)]
    knots: list[_Knot] = []
    depth = 0
    while len(level) > fan_in:
        depth += 1
        level = [_Knot(below[-1].last, depth, tuple(below)) for below in _evenly(level, -(-len(level) // fan_in))]
        knots += level
    knots.sort(key=lambda knot: (knot.last, knot.depth))
    numbers = {id(knot): number for number, knot in enumerate(knots)}

    def parts(below: Sequence[_Knot]) -> tuple[Part, ...]:
        return tuple(Part(True, numbers[id(knot)]) if knot.depth else Part(False, knot.last) for knot in below)

    return Fold(tuple(parts(knot.below) for knot in knots), parts(level))


def _evenly(knots: Sequence[_Knot], groups: int) -> list[Sequence[_Knot]]:
    """Adjoining groups whose sizes differ by one at most."""
    edges = [len(knots) * group // groups for group in range(groups + 1)]
    return [knots[edges[group] : edges[group + 1]] for group in range(groups)]
