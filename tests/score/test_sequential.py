"""The order in which windows are asked about where one stops early."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from interp.score.scorers.sequential import _by_turns


def test_one_window_of_each_document_comes_before_the_second_of_any():
    clusters = np.array([0, 0, 0, 0, 1, 1, 2])
    assert clusters[_by_turns(np.array([3, 1, 4, 6, 0, 5, 2]), clusters)].tolist() == [0, 1, 2, 0, 1, 0, 0]


@given(st.lists(st.integers(0, 5), max_size=40), st.integers(0, 2**31 - 1))
def test_every_window_is_asked_about_once_and_documents_take_turns(documents, seed):
    clusters = np.array(documents, dtype=np.intp)
    rows = np.random.default_rng(seed).permutation(len(documents))
    found = _by_turns(rows, clusters)
    assert sorted(found.tolist()) == list(range(len(documents)))
    asked = [0] * 6
    turns = []
    for cluster in clusters[found].tolist():
        asked[cluster] += 1
        turns.append(asked[cluster])
    assert turns == sorted(turns)
