"""Choosing whose explanations are borrowed, and that a swapped explanation is no better than they are."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.domain.evidence import Neighbour
from interp.score.items.nulls import TWIN_COSINE, choose_nulls, twins_of


def _features(count, seed=0):
    random = np.random.default_rng(seed)
    return list(range(count)), 10 ** random.uniform(-4, -1, count), random.integers(10, 200, count)


@settings(max_examples=30)
@given(st.integers(0, 200), st.integers(0, 25), st.integers(0, 2**31 - 1))
def test_never_itself_never_twice_and_as_many_as_there_are(total, count, seed):
    features, densities, lengths = _features(total)
    chosen = choose_nulls(features, densities, lengths, count, seed)
    assert len(chosen) == total
    for feature, nulls in zip(features, chosen, strict=True):
        assert feature not in nulls
        assert len(set(nulls)) == len(nulls) == max(0, min(count, total - 1))


def test_deterministic_by_seed_and_whatever_the_order():
    features, densities, lengths = _features(500)
    first = choose_nulls(features, densities, lengths, 20, 3)
    assert choose_nulls(features, densities, lengths, 20, 3) == first
    assert choose_nulls(features, densities, lengths, 20, 4) != first
    order = np.random.default_rng(1).permutation(500)
    shuffled = choose_nulls([features[i] for i in order], densities[order], lengths[order], 20, 3)
    assert [shuffled[place] for place in np.argsort(order)] == first


def test_matched_on_density_and_length():
    features, densities, lengths = _features(3000)
    chosen = choose_nulls(features, densities, lengths, 20, 0)
    ratios = [np.abs(np.log10(densities[list(nulls)] / densities[feature])).mean() for feature, nulls in zip(features, chosen, strict=True)]
    gaps = [np.abs(lengths[list(nulls)] - lengths[feature]).mean() for feature, nulls in zip(features, chosen, strict=True)]
    # At random the density would be a factor ten off, and the length 63 characters.
    assert np.mean(ratios) < 0.15
    assert np.mean(gaps) < 20


def test_no_feature_is_everybodys_null():
    features, densities, lengths = _features(2000)
    chosen = choose_nulls(features, densities, lengths, 20, 0)
    times = np.bincount(np.concatenate([np.array(nulls) for nulls in chosen]), minlength=2000)
    assert times.max() < 60


def test_equal_features_are_no_trouble():
    chosen = choose_nulls(list(range(300)), np.full(300, 0.01), np.full(300, 30), 20, 0)
    assert all(len(nulls) == 20 and feature not in nulls for feature, nulls in enumerate(chosen))


def test_a_twin_is_no_null():
    """Every feature has a twin that fires as often, as the parts of a split feature do: matched on density, it would be drawn again and again."""
    features, densities, lengths = _features(300)
    densities[1::2], lengths[1::2] = densities[::2], lengths[::2]
    twins = {feature: frozenset({feature ^ 1}) for feature in features}
    with_twins = choose_nulls(features, densities, lengths, 20, 0)
    assert np.mean([feature ^ 1 in nulls for feature, nulls in zip(features, with_twins, strict=True)]) > 0.2
    chosen = choose_nulls(features, densities, lengths, 20, 0, twins)
    assert not any(feature ^ 1 in nulls for feature, nulls in zip(features, chosen, strict=True))
    assert all(len(nulls) == 20 for nulls in chosen)


def test_a_part_of_the_features_gets_the_same_nulls_as_all():
    features, densities, lengths = _features(300)
    twins = {feature: frozenset({feature ^ 1}) for feature in features}
    chosen = choose_nulls(features, densities, lengths, 5, 1, twins)
    assert choose_nulls(features, densities, lengths, 5, 1, twins, of=[7, 3]) == [chosen[7], chosen[3]]
    assert choose_nulls([0, 1], np.full(2, 0.1), np.full(2, 9), 5, 0, {0: {1}}) == [(), (0,)]


def test_twins_are_told_by_the_cosine_of_their_decoder_directions():
    nearest = (Neighbour(4, 0.93), Neighbour(9, TWIN_COSINE), Neighbour(2, TWIN_COSINE - 0.01), Neighbour(3, -0.9))
    assert twins_of(nearest) == {4, 9}
