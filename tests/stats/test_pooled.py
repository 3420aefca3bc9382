"""p values from the nulls of all features: swapped explanations are significant 5% of the time, few nulls a feature as there are."""

import numpy as np
import pytest

from interp.stats import pooled
from interp.stats.multiplicity import benjamini_hochberg
from interp.stats.pooled import pooled_p, strata_of

FEATURES = 400
DICTIONARIES = 60


def _normal(random, shape):
    return random.normal(0.5, 0.05, shape)


def _features_differ(random, shape):
    """As published figures do: random explanations differ between features far more than among themselves."""
    return random.normal(0.5, 0.1, (shape[0], 1)) + random.normal(0, 0.03, shape)


def _few_hits(random, shape):
    return np.where(random.random(shape) < 0.1, random.normal(0.7, 0.1, shape), random.normal(0.5, 0.01, shape))


def _noise_differs(random, shape):
    return 0.5 + random.gamma(1, 0.05, (shape[0], 1)) * random.normal(size=shape)


def _lumpy(random, shape):
    return 0.5 + 0.01 * random.binomial(10, 0.2, shape)


SHAPES = {shape.__name__[1:]: shape for shape in (_normal, _features_differ, _few_hits, _noise_differs, _lumpy)}


def _swapped(draw, nulls, paired, strata=None):
    random = np.random.default_rng(3)
    found = [draw(random, (FEATURES, nulls + 1)) for _ in range(DICTIONARIES)]
    return np.array([pooled_p(figures[:, 0], figures[:, 1:], strata, paired) for figures in found])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("nulls", [2, 5])
def test_swapped_explanations_are_significant_as_often_as_promised(shape, nulls):
    raw, paired = (_swapped(SHAPES[shape], nulls, paired) for paired in (False, True))
    # Exact but for ties, raw for features alike and in pairs for all.
    assert (0.0 if shape == "lumpy" else 0.04) <= np.mean(raw <= 0.05) <= 0.06
    assert (0.0 if shape == "lumpy" else 0.04) <= np.mean(paired <= 0.05) <= 0.06
    assert np.mean(paired <= 0.01) <= 0.015
    for p_values in (raw, paired):
        assert np.mean([(benjamini_hochberg(row) <= 0.05).any() for row in p_values]) <= 0.12


def test_an_easy_feature_is_no_merit_in_a_pair():
    """Ten features where any explanation does well: raw figures call their swaps significant, paired ones do not."""
    random = np.random.default_rng(4)
    figures = random.normal(0.5, 0.02, (FEATURES, 3))
    figures[:10] += 0.3
    assert (pooled_p(figures[:, 0], figures[:, 1:], paired=False)[:10] < 0.05).mean() == 1
    assert (pooled_p(figures[:, 0], figures[:, 1:])[:10] < 0.05).mean() < 0.3


def test_strata_keep_features_alike_together():
    """Swaps on noisy features would fill the tail of a common pool, and hide what is real on quiet ones."""
    random, together, apart, found = np.random.default_rng(5), [], [], []
    noise = np.where(np.arange(FEATURES) % 4 == 0, 0.2, 0.02)
    noisy, strata = noise > 0.1, strata_of(noise, 4)
    for _ in range(20):
        figures = 0.5 + noise[:, None] * random.normal(size=(FEATURES, 3))
        together.append(pooled_p(figures[:, 0], figures[:, 1:])[noisy])
        apart.append(pooled_p(figures[:, 0], figures[:, 1:], strata)[noisy])
        figures[~noisy, 0] += 0.15
        found.append(pooled_p(figures[:, 0], figures[:, 1:], strata)[~noisy])
    assert np.mean(np.array(together) <= 0.05) > 0.1
    assert np.mean(np.array(apart) <= 0.05) <= 0.06
    assert np.mean(np.array(found) <= 0.05) > 0.95


def test_real_explanations_do_not_spoil_the_nulls_of_swapped_ones():
    """Half of the dictionary is explained rightly: of those called significant at q 0.05, 5% at most are false on average."""
    random, shares, power = np.random.default_rng(6), [], []
    for _ in range(100):
        figures = _features_differ(random, (FEATURES, 3))
        figures[: FEATURES // 2, 0] += 0.25
        called = benjamini_hochberg(pooled_p(figures[:, 0], figures[:, 1:])) <= 0.05
        shares.append(called[FEATURES // 2 :].sum() / max(called.sum(), 1))
        power.append(called[: FEATURES // 2].mean())
    assert np.mean(shares) <= 0.05
    assert np.mean(power) > 0.95


def test_by_hand():
    own, nulls = np.array([0.9, 0.2, np.nan]), np.array([[0.5], [0.2], [0.1]])
    np.testing.assert_allclose(pooled_p(own, nulls, paired=False), [1 / 4, 3 / 4, np.nan])
    np.testing.assert_allclose(pooled_p(own, nulls), [1 / 4, 3 / 4, np.nan])
    # Own less mean of nulls: .9 - .5 = .4; references: .6 - .4 = .2, -.2, and 0, 0 of the second feature.
    np.testing.assert_allclose(pooled_p(np.array([0.9, 0.3]), np.array([[0.6, 0.4], [0.3, 0.3]])), [1 / 5, 4 / 5])


def test_undefined_nulls_are_left_out():
    nulls = np.array([[0.5, np.nan], [np.nan, np.nan], [0.4, 0.6]])
    found = pooled_p(np.array([0.9, 0.9, 0.9]), nulls)
    assert np.isnan(found[1])
    np.testing.assert_allclose(found[[0, 2]], 1 / 3)
    assert np.isnan(pooled_p(np.array([0.9]), np.array([[np.nan]]))).all()


@pytest.mark.parametrize("paired", [True, False])
def test_a_feature_whose_only_null_is_undefined_has_no_p_value(paired):
    nulls = np.array([[0.5], [np.nan], [0.1]])
    found = pooled_p(np.array([0.9, 0.9, 0.9]), nulls, paired=paired)
    np.testing.assert_allclose(found, [1 / 3, np.nan, 1 / 3])


def test_strata_are_of_equal_size_and_join_when_small():
    np.testing.assert_array_equal(strata_of(np.array([0.3, 0.1, 0.2, 0.4]), 2), [1, 0, 0, 1])
    own, nulls = np.linspace(0, 1, 40), np.linspace(0, 1, 80).reshape(40, 2)
    np.testing.assert_array_equal(pooled_p(own, nulls, strata_of(own, 8)), pooled_p(own, nulls))


def test_blocks_of_features_change_nothing(monkeypatch):
    """Whose null is left out goes round over all features, not within a block."""
    random = np.random.default_rng(8)
    own, nulls = random.normal(0.5, 0.1, 300), random.normal(0.5, 0.1, (300, 12))
    nulls[random.random(nulls.shape) < 0.4] = np.nan
    whole = pooled_p(own, nulls)
    monkeypatch.setattr(pooled, "BLOCK", 7)
    np.testing.assert_array_equal(pooled_p(own, nulls), whole)
