"""Estimates across a dictionary."""

import numpy as np
import pytest

from interp.stats import shrinkage
from interp.stats.shrinkage import expected_overlap, rank_chances, shrink


def test_by_hand_with_equal_errors():
    """Equal errors make Paule and Mandel's variance the observed one less the error's: 0.04 - 0.01."""
    values = np.array([0.3, 0.5, 0.7])
    found = shrink(values, np.full(3, 0.1))
    assert found.prior_mean == pytest.approx(0.5)
    assert found.prior_deviation**2 == pytest.approx(0.03)
    assert found.reliability == pytest.approx(0.75)
    np.testing.assert_allclose(found.means, 0.5 + 0.75 * (values - 0.5))
    np.testing.assert_allclose(found.deviations, np.sqrt(0.75) * 0.1)


def test_most_of_the_spread_of_saebench_is_signal():
    """SAEBench's log of 100 features of GPT-2 small has a mean of .885 and a standard deviation of .138, of which .085 is the noise of 14 items each:
    1 - .085² / .138² = 62% is signal. The log is not part of this repository: figures are drawn with these moments."""
    random = np.random.default_rng(0)
    values = random.normal(0.885, np.sqrt(0.138**2 - 0.085**2), 5000) + random.normal(0, 0.085, 5000)
    assert shrink(values, np.full(5000, 0.085)).reliability == pytest.approx(0.62, abs=0.04)


def test_shares_of_fourteen_items_are_as_reliable_as_their_noise_says():
    """The same with shares that end at 1, as real ones do: beta rates of mean .885, right answers of 14 counted, one error for all."""
    random, spread = np.random.default_rng(1), 0.885 * 0.115 / (0.138**2 - 0.085**2) - 1
    rates = random.beta(0.885 * spread, 0.115 * spread, 5000)
    shares = random.binomial(14, rates) / 14
    noise = np.sqrt(np.mean(rates * (1 - rates)) / 14)
    assert (shares == 1).mean() > 0.2
    assert shares.std() == pytest.approx(0.138, abs=0.01)
    assert 0.62 <= shrink(shares, np.full(5000, noise)).reliability <= 0.69
    assert np.corrcoef(shares, rates)[0, 1] ** 2 == pytest.approx(shrink(shares, np.full(5000, noise)).reliability, abs=0.03)


def test_pure_noise_is_drawn_to_the_mean_and_reliability_is_nothing():
    values = np.array([0.49, 0.5, 0.51, 0.5])
    found = shrink(values, np.full(4, 0.2))
    assert found.reliability == 0
    np.testing.assert_allclose(found.means, 0.5)


def test_noisy_features_are_drawn_further():
    found = shrink(np.array([0.2, 0.2, 0.8, 0.8, 0.9, 0.5]), np.array([0.02, 0.3, 0.02, 0.02, 0.02, 0.02]))
    assert found.means[1] > found.means[0] > 0.2
    assert found.deviations[1] > found.deviations[0]


def test_what_has_no_figure_has_no_part():
    values, errors = np.array([0.3, np.nan, 0.5, 0.7, 0.9]), np.array([0.1, 0.1, 0.1, 0.1, np.nan])
    found = shrink(values, errors)
    assert np.isnan(found.means[[1, 4]]).all()
    np.testing.assert_allclose(found.means[[0, 2, 3]], shrink(np.array([0.3, 0.5, 0.7]), np.full(3, 0.1)).means)


def test_two_features_say_nothing_of_their_spread():
    found = shrink(np.array([0.3, 0.7]), np.array([0.1, 0.1]))
    assert found.reliability is None
    np.testing.assert_array_equal(found.means, [0.3, 0.7])


def test_an_error_is_not_negative():
    with pytest.raises(ValueError, match="not negative"):
        shrink(np.array([0.1, 0.2, 0.3]), np.array([0.1, -0.1, 0.1]))


def test_shrunken_figures_err_less_and_their_intervals_cover():
    random = np.random.default_rng(1)
    true, errors = random.normal(0.7, 0.1, 4000), random.uniform(0.03, 0.15, 4000)
    values = true + errors * random.standard_normal(4000)
    found = shrink(values, errors)
    assert np.mean((found.means - true) ** 2) < 0.75 * np.mean((values - true) ** 2)
    assert np.mean(np.abs(found.means - true) <= 1.96 * found.deviations) == pytest.approx(0.95, abs=0.012)
    assert found.prior_deviation == pytest.approx(0.1, abs=0.01)


def test_the_expected_overlap_is_the_real_one():
    random, expected, real = np.random.default_rng(2), [], []
    for seed in range(40):
        true = random.normal(0.7, 0.1, 500)
        errors = random.uniform(0.05, 0.15, 500)
        found = shrink(true + errors * random.standard_normal(500), errors)
        expected.append(expected_overlap(found.means, found.deviations, 50, seed=seed))
        real.append(len(set(np.argsort(found.means)[:50]) & set(np.argsort(true)[:50])) / 50)
    assert np.mean(expected) == pytest.approx(np.mean(real), abs=0.025)


def test_ranks_at_the_ends():
    sure = rank_chances(np.array([0.1, 0.5, 0.9, np.nan]), np.array([0.01, 0.01, 0.01, np.nan]), 1)
    np.testing.assert_array_equal(sure[:3], [1, 0, 0])
    assert np.isnan(sure[3])
    assert expected_overlap(np.array([0.1, np.nan]), np.array([0.1, np.nan]), 2) is None
    assert expected_overlap(np.array([0.1, 0.2]), np.array([0.5, 0.5]), 2) == 1
    alike = expected_overlap(np.zeros(100), np.ones(100), 10, draws=4000)
    assert alike == pytest.approx(0.1, abs=0.02)


def test_blocks_of_draws_change_nothing_and_the_figures_given_stay_as_they_are(monkeypatch):
    random = np.random.default_rng(9)
    values, errors = random.normal(0.7, 0.1, 200), random.uniform(0.05, 0.2, 200)
    before = values.copy(), errors.copy()
    found = shrink(values, errors)
    np.testing.assert_array_equal((values, errors), before)
    whole = rank_chances(found.means, found.deviations, 20)
    monkeypatch.setattr(shrinkage, "BLOCK", 450)
    np.testing.assert_array_equal(rank_chances(found.means, found.deviations, 20), whole)
