"""The reservoir against sorting everything."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.collect.reservoir import EMPTY, ORDINAL_MASK, Reservoir, make_keys, sortable

ROWS, WINDOW = 4, 3
# Few distinct priorities, so that ties abound.
offers = st.lists(st.tuples(st.integers(0, ROWS - 1), st.integers(-5, 5)), max_size=120)


@settings(deadline=None)
@given(offers, st.integers(1, 7), st.integers(1, 50), st.randoms(use_true_random=False))
def test_keeps_the_highest_in_any_order_and_any_batches(items: list[tuple[int, int]], keep: int, batch: int, random) -> None:
    entries = [(row, priority, ordinal) for ordinal, (row, priority) in enumerate(items)]
    expected = [sorted(((-p, o) for r, p, o in entries if r == row))[:keep] for row in range(ROWS)]
    random.shuffle(entries)
    reservoir = Reservoir(ROWS, keep, WINDOW, torch.device("cpu"))
    for first in range(0, len(entries), batch):
        rows, priorities, ordinals = torch.tensor(entries[first : first + batch]).T
        enter = (priorities >= reservoir.threshold[rows]).nonzero().squeeze(1)
        payload = ordinals[enter, None] * torch.ones(WINDOW) + 1
        reservoir.offer(rows[enter], make_keys(priorities[enter].to(torch.int32), ordinals[enter]), payload)
    keys, payload = reservoir.kept()
    assert payload is not None
    for row in range(ROWS):
        full = keys[row][keys[row] != EMPTY]
        found = [(-int(key >> 32), int(ORDINAL_MASK - (key & ORDINAL_MASK))) for key in full]
        assert found == expected[row]
        np.testing.assert_array_equal(payload[row, : len(found), 0], [ordinal + 1 for _, ordinal in found])
        assert not payload[row, len(found) :].any()


@settings(deadline=None)
@given(offers, st.integers(1, 7), st.integers(1, 50), st.integers(1, 6), st.randoms(use_true_random=False))
def test_a_document_gives_its_best_window_and_no_other(items: list[tuple[int, int]], keep: int, batch: int, size: int, random) -> None:
    """In any order and any batches; documents of `size` windows each."""
    entries = [(row, priority, ordinal) for ordinal, (row, priority) in enumerate(items)]
    expected = []
    for row in range(ROWS):
        ranked = sorted((-priority, ordinal) for other, priority, ordinal in entries if other == row)
        first = {ordinal // size: (priority, ordinal) for priority, ordinal in reversed(ranked)}
        expected.append(sorted(first.values())[:keep])
    random.shuffle(entries)
    reservoir = Reservoir(ROWS, keep, WINDOW, torch.device("cpu"), documents=torch.arange(0, len(items) + size + 1, size))
    for first in range(0, len(entries), batch):
        rows, priorities, ordinals = torch.tensor(entries[first : first + batch]).T
        enter = (priorities >= reservoir.threshold[rows]).nonzero().squeeze(1)
        payload = ordinals[enter, None] * torch.ones(WINDOW) + 1
        reservoir.offer(rows[enter], make_keys(priorities[enter].to(torch.int32), ordinals[enter]), payload)
    keys, payload = reservoir.kept()
    assert payload is not None
    for row in range(ROWS):
        full = keys[row][keys[row] != EMPTY]
        found = [(-int(key >> 32), int(ORDINAL_MASK - (key & ORDINAL_MASK))) for key in full]
        assert found == expected[row]
        np.testing.assert_array_equal(payload[row, : len(found), 0], [ordinal + 1 for _, ordinal in found])
        assert not payload[row, len(found) :].any()


@given(st.lists(st.floats(0, 2.0**100, width=32), min_size=2, max_size=50))
def test_float_priorities_sort_as_the_floats_do(values: list[float]) -> None:
    floats = torch.tensor(values, dtype=torch.float32)
    np.testing.assert_array_equal(sortable(floats).argsort(stable=True), floats.argsort(stable=True))


def test_ordinals_up_to_32_bits_survive_in_keys() -> None:
    ordinals = torch.tensor([0, 1, 2**31, 2**32 - 1])
    keys = make_keys(torch.tensor([-(2**31) + 1, -1, 0, 2**31 - 1], dtype=torch.int32), ordinals)
    assert (ORDINAL_MASK - (keys & ORDINAL_MASK)).tolist() == ordinals.tolist()
    assert keys.tolist() == sorted(keys.tolist())
