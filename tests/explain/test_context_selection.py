"""Which contexts are shown: each text once, spread or weighted as asked, and parts that share nothing."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from interp.domain.evidence import ContextKind, Split
from interp.explain.context_selection import by_turns, firing, parts, silent, spread, weighted
from tests.explain.random_evidence import evidences


def _texts(contexts, rows):
    return [contexts.tokens[row, : contexts.lengths[row]].tobytes() for row in rows]


@given(evidences(most=60))
def test_each_text_once_strongest_first_and_silent_ones_apart(found):
    contexts = found.contexts.of(Split.EXPLAIN)
    fires, stays = firing(contexts), silent(contexts, np.random.default_rng(0))
    maxima = contexts.maxima()
    assert (maxima[fires] > 0).all()
    assert (np.diff(maxima[fires]) <= 0).all()
    assert set(_texts(contexts, fires)) == set(_texts(contexts, np.flatnonzero(maxima > 0)))
    assert (maxima[stays] == 0).all()
    assert all(len(set(_texts(contexts, rows))) == len(rows) for rows in (fires, stays))
    documents = contexts.documents[stays].tolist()
    turns = [documents[:place].count(document) for place, document in enumerate(documents)]
    assert turns == sorted(turns)  # one of each document before a second of any
    peaks = contexts.tokens[fires, contexts.activations[fires].argmax(axis=1)]
    holds = (np.isin(contexts.tokens[stays], peaks) & contexts.valid()[stays]).any(axis=1)
    order = list(zip(turns, ~holds, contexts.kinds[stays] == ContextKind.INACTIVE, strict=True))
    assert order == sorted(order)  # the same token first, then near misses


@given(evidences(fewest=20, most=80), st.integers(1, 80), st.integers(0, 5))
def test_spread_takes_as_many_of_each_tenth(found, number, seed):
    contexts = found.contexts
    fires = firing(contexts)
    chosen = spread(contexts, fires, number, np.random.default_rng(seed))
    assert len(chosen) == len(set(chosen.tolist())) == min(number, len(fires))
    taken = [int(np.isin(tenth, chosen).sum()) for tenth in np.array_split(fires, 10)]
    full = [len(tenth) == count for tenth, count in zip(np.array_split(fires, 10), taken, strict=True)]
    assert max(taken) - min(count for count, is_full in zip([*taken, max(taken)], [*full, False], strict=True) if not is_full) <= 1


@given(evidences(fewest=10, most=60), st.integers(0, 5))
def test_weighted_takes_what_collection_drew_by_activation_first(found, seed):
    contexts = found.contexts
    fires = firing(contexts)
    drawn = {name for name, kind in zip(contexts.identities(), contexts.kinds, strict=True) if kind == ContextKind.WEIGHTED}
    is_drawn = [contexts.identities()[row] in drawn for row in weighted(contexts, fires, len(fires), np.random.default_rng(seed))]
    assert is_drawn == sorted(is_drawn, reverse=True)


@given(evidences(most=60), st.sampled_from([(1, 1), (2, 1, 1)]))
def test_parts_share_no_document_and_no_text_and_lose_none(found, shares):
    contexts = found.contexts.of(Split.EXPLAIN)
    cut = parts(contexts, shares)
    assert len(cut) == len(shares)
    for place, one in enumerate(cut):
        for other in cut[place + 1 :]:
            assert not set(contexts.documents[one].tolist()) & set(contexts.documents[other].tolist())
            for fires in (True, False):
                rows = [np.flatnonzero(mask & ((contexts.maxima() > 0) == fires)) for mask in (one, other)]
                assert not set(_texts(contexts, rows[0])) & set(_texts(contexts, rows[1]))
    together = np.logical_or.reduce(cut) if len(contexts) else np.zeros(0, dtype=bool)
    rows = np.flatnonzero(contexts.maxima() > 0)
    assert set(_texts(contexts, rows[together[rows]])) == set(_texts(contexts, rows))


@given(evidences(fewest=30, most=60))
def test_enough_firing_documents_give_every_part_some(found):
    contexts = found.contexts.of(Split.EXPLAIN)
    kept = contexts.select(firing(contexts))
    documents = set(kept.documents.tolist())
    filled = [bool(mask.any()) for mask in parts(kept, (1, 1))]
    assert sum(filled) == min(2, len(documents))


def test_one_window_of_each_document_comes_before_the_second_of_any():
    clusters = np.array([0, 0, 0, 0, 1, 1, 2])
    assert clusters[by_turns(np.array([3, 1, 4, 6, 0, 5, 2]), clusters)].tolist() == [0, 1, 2, 0, 1, 0, 0]


@given(st.lists(st.integers(0, 5), max_size=40), st.integers(0, 2**31 - 1))
def test_every_window_is_asked_about_once_and_documents_take_turns(documents, seed):
    clusters = np.array(documents, dtype=np.intp)
    rows = np.random.default_rng(seed).permutation(len(documents))
    found = by_turns(rows, clusters)
    assert sorted(found.tolist()) == list(range(len(documents)))
    asked = [0] * 6
    turns = []
    for cluster in clusters[found].tolist():
        asked[cluster] += 1
        turns.append(asked[cluster])
    assert turns == sorted(turns)
