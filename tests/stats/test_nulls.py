"""A swapped explanation must be called significant 5% of the time, whatever the nulls look like."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from interp.stats.intervals import jackknife_variance, least_degrees
from interp.stats.nulls import TAIL_DEGREES, exceedance, mean_bounds

RUNS = 8000
NULLS = 20
SHAPES = {
    "normal": lambda random, size: random.normal(size=size),
    "skewed": lambda random, size: random.lognormal(sigma=1.0, size=size),
    "heavy tails": lambda random, size: random.standard_t(3, size=size),
    "mostly silent, few hits": lambda random, size: np.where(random.random(size) < 0.2, random.normal(0.2, 0.1, size), random.normal(0, 0.005, size)),
    "features differ": lambda random, size: random.normal(random.normal(size=(size[0], 1)), random.gamma(1, size=(size[0], 1)), size),
}


def _p_values(draw, seed=5):
    sample = draw(np.random.default_rng(seed), (RUNS, NULLS + 1))
    return np.array([exceedance(float(row[0]), row[1:], 0.0) for row in sample])


@pytest.mark.parametrize("shape", SHAPES)
def test_swapped_explanations_are_significant_as_often_as_promised(shape):
    p_values = _p_values(SHAPES[shape])
    assert 0.04 <= np.mean(p_values <= 0.05) <= 0.06
    assert np.mean(p_values <= 0.01) <= 0.02
    assert np.mean(p_values <= 0.001) <= 0.005


def test_lumpy_nulls_err_on_the_safe_side():
    """Figures that take few values (rules that never fire score exactly 0.5) tie; ties count against the explanation."""
    p_values = _p_values(lambda random, size: 0.5 + 0.05 * random.binomial(1, 0.1, size))
    assert np.mean(p_values <= 0.05) <= 0.06


def test_nulls_that_are_all_alike_say_no_more_than_their_number_can():
    alike = np.full(20, 0.5)
    assert exceedance(0.9, alike, 0.0) == pytest.approx(1 / 21)
    assert exceedance(0.5, alike, 0.0) == 1


def test_up_to_the_largest_null_the_p_value_is_the_rank():
    nulls = np.array([0.1, 0.2, 0.3, 0.4])
    assert exceedance(0.05, nulls, 0.0) == 1
    assert exceedance(0.25, nulls, 0.0) == pytest.approx(3 / 5)
    assert exceedance(0.4, nulls, 0.0) == pytest.approx(2 / 5)


def test_beyond_the_largest_null_the_predictive_t_goes_on():
    nulls = np.array([0.1, 0.2, 0.3, 0.4])
    spread = nulls.std(ddof=1) * np.sqrt(1 + 1 / 4)
    expected = stats.t.sf((0.9 - 0.25) / spread, TAIL_DEGREES) / stats.t.sf((0.4 - 0.25) / spread, TAIL_DEGREES) / 5
    assert exceedance(0.9, nulls, 0.0) == pytest.approx(expected)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=30), st.floats(-1, 1), st.floats(0, 0.5))
def test_a_better_figure_never_has_a_larger_p_value(nulls, own, more):
    first, second = exceedance(own, np.array(nulls), 0.0), exceedance(own + more, np.array(nulls), 0.0)
    assert 0 <= second <= first <= 1


def test_the_own_error_counts():
    nulls = np.full(20, 0.5)
    sure, unsure = exceedance(0.9, nulls, 0.05), exceedance(0.9, nulls, 0.3)
    assert sure == pytest.approx(stats.t.sf(8, TAIL_DEGREES) / 0.5 / 21)
    assert sure < unsure < 1 / 21
    assert exceedance(0.9, nulls + np.linspace(0, 0.01, 20), None) == pytest.approx(1 / 21)


def test_one_null_cannot_tell():
    assert exceedance(0.9, np.array([0.5]), 0.0) is None


def test_one_twin_among_the_nulls_makes_the_test_cautious():
    random = np.random.default_rng(1)
    nulls = np.append(random.normal(0.5, 0.02, 19), 0.9)
    assert exceedance(0.9, nulls, 0.0) == pytest.approx(2 / 21)


def test_the_mean_of_the_nulls_is_covered():
    """True mean 0: documents move all nulls alike (sd 0.3), and nulls differ among themselves (sd 1)."""
    random = np.random.default_rng(2)
    covered = []
    for _ in range(2000):
        nulls = random.normal(size=NULLS) + random.normal(scale=0.3)
        low, high = mean_bounds(nulls, 0.09, 30)
        covered.append(low <= 0 <= high)
    assert 0.93 <= np.mean(covered) <= 0.97


@pytest.mark.parametrize(("share", "documents"), [(0.05, 20), (0.4, 10), (0.4, 20), (0.5, 6), (0.5, 20), (0.6, 20)])
@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_the_mean_of_the_nulls_is_covered_where_one_document_holds_much_of_the_items(share, documents, spread):
    """True mean 0. Documents move all nulls alike, one of them holds a share of the windows, and nulls differ by `spread` among themselves."""
    random = np.random.default_rng(5)
    weights = np.full(documents, (1 - share) / (documents - 1))
    weights[0] = share
    covered = []
    for _ in range(2000):
        parts = random.normal(size=(documents, 1)) + random.normal(scale=0.3, size=(documents, NULLS))
        own = random.normal(scale=spread, size=NULLS)
        without = (weights @ parts - weights[:, None] * parts) / (1 - weights)[:, None] + own
        low, high = mean_bounds(weights @ parts + own, float(jackknife_variance(without.mean(axis=1))), least_degrees(weights))
        covered.append(low <= 0 <= high)
    assert 0.935 <= np.mean(covered) <= 0.98
