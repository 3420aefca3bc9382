"""A tree over any number of leaves: every leaf once, no step too wide, and little room needed."""

from hypothesis import given
from hypothesis import strategies as st

from interp.planning.merge_tree import MergeTree, Part, merge_tree


def leaves_of(tree: MergeTree, part: Part) -> list[int]:
    """The leaves under a part, in order."""
    if not part.is_step:
        return [part.number]
    return [leaf for below in tree.steps[part.number] for leaf in leaves_of(tree, below)]


@given(st.integers(1, 3000), st.integers(2, 40))
def test_every_leaf_is_taken_once_in_order_by_steps_that_are_not_too_wide(leaves: int, fan_in: int) -> None:
    tree = merge_tree(leaves, fan_in)
    assert [leaf for part in tree.top for leaf in leaves_of(tree, part)] == list(range(leaves))
    assert all(1 <= len(step) <= fan_in for step in (*tree.steps, tree.top))
    assert len({part for step in (*tree.steps, tree.top) for part in step}) == leaves + len(tree.steps), "nothing is read twice"
    assert all(below.number < number for number, step in enumerate(tree.steps) for below in step if below.is_step)


@given(st.integers(1, 600), st.integers(2, 20))
def test_what_stands_between_a_steps_parts_leads_to_them(leaves: int, fan_in: int) -> None:
    tree = merge_tree(leaves, fan_in)
    for step in (*tree.steps, tree.top):
        assert len({part.is_step for part in step}) == 1
        if step[0].is_step:
            under: set[int] = set()
            todo = [part.number for part in step]
            while todo:
                number = todo.pop()
                under.add(number)
                todo += [below.number for below in tree.steps[number] if below.is_step]
            assert set(range(step[0].number, step[-1].number + 1)) <= under


@given(st.integers(1, 3000), st.integers(2, 20))
def test_room_is_needed_for_a_few_parts_a_level(leaves: int, fan_in: int) -> None:
    """One worker that takes the lowest number it can: leaves in their order, steps as soon as their parts are there."""
    tree = merge_tree(leaves, fan_in)
    there: set[Part] = set()
    most, next_step = 0, 0
    for leaf in range(leaves):
        there.add(Part(False, leaf))
        most = max(most, len(there))
        while next_step < len(tree.steps) and set(tree.steps[next_step]) <= there:
            there = there - set(tree.steps[next_step]) | {Part(True, next_step)}
            next_step += 1
            most = max(most, len(there) + 1)
    assert there == set(tree.top)
    levels = 1
    while fan_in**levels < leaves:
        levels += 1
    assert most <= fan_in * levels + 1
