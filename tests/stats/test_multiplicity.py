"""Benjamini and Hochberg."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from interp.stats.multiplicity import benjamini_hochberg

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=40)


def test_by_hand():
    np.testing.assert_allclose(benjamini_hochberg([0.01, 0.04, 0.03, 0.5]), [0.04, 4 / 3 * 0.04, 4 / 3 * 0.04, 0.5])


@given(P_VALUES)
def test_agrees_with_scipy(p_values):
    np.testing.assert_allclose(benjamini_hochberg(p_values), false_discovery_control(p_values), atol=1e-12)


@given(P_VALUES, st.integers(0, 40))
def test_what_was_not_tested_does_not_count(p_values, place):
    place = min(place, len(p_values))
    with_gap = benjamini_hochberg([*p_values[:place], None, *p_values[place:]])
    assert np.isnan(with_gap[place])
    np.testing.assert_array_equal(np.delete(with_gap, place), benjamini_hochberg(p_values))


def test_nothing_tested():
    assert np.isnan(benjamini_hochberg([None, None])).all()
    assert len(benjamini_hochberg([])) == 0


def test_refuses_what_is_no_probability():
    with pytest.raises(ValueError, match="between 0 and 1"):
        benjamini_hochberg([0.5, 1.5])


def test_the_false_discovery_rate_is_kept():
    """900 features without and 100 with an effect, 200 dictionaries: of those called significant at q <= 0.1 at most a tenth is false, on average."""
    random = np.random.default_rng(0)
    false_shares = []
    for _ in range(200):
        p_values = np.concatenate([random.uniform(size=900), random.uniform(size=100) ** 8])
        called = benjamini_hochberg(p_values) <= 0.1
        false_shares.append(called[:900].sum() / max(called.sum(), 1))
    assert 0.07 < np.mean(false_shares) < 0.1
