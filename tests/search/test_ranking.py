"""Fusion of ranked lists, and the nearest by code."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from interp.search import codes
from interp.search.fusion import K, fused

ranked = st.lists(st.integers(0, 20), unique=True, max_size=12)


@given(ranked, ranked)
def test_fusion_is_the_formula(first: list[int], second: list[int]) -> None:
    found = fused(first, second)
    assert {item.key for item in found} == {*first, *second}
    for item in found:
        ranks = [one.index(item.key) + 1 if item.key in one else None for one in (first, second)]
        assert list(item.ranks) == ranks
        assert item.score == sum(1 / (K + rank) for rank in ranks if rank is not None)
    assert [item.score for item in found] == sorted((item.score for item in found), reverse=True)


@given(ranked)
def test_one_list_keeps_its_order(only: list[int]) -> None:
    assert [item.key for item in fused(only, [])] == [item.key for item in fused(only)] == only


@given(st.integers(1, 60), st.integers(1, 70), st.integers(0, 999))
def test_the_nearest_codes_are_those_of_a_scan(number: int, count: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(number + 1, 512)).astype(np.float32)
    blobs = [codes.code_of(vector) for vector in vectors[1:]]
    bits = np.unpackbits(np.frombuffer(b"".join(blobs), np.uint8)).reshape(number, 512)
    far = (bits != np.unpackbits(np.frombuffer(codes.code_of(vectors[0]), np.uint8))).sum(axis=1)
    assert codes.nearest(codes.codes_from(blobs), codes.code_of(vectors[0]), count).tolist() == np.argsort(far, kind="stable")[:count].tolist()
