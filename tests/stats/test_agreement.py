"""Figures on inputs worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from interp.stats.agreement import cohens_kappa, f1_of, kappa_of_counts, pearson, pearson_of, precision_at_rate, r_squared, sums, yes_no_figures
from interp.stats.intervals import leave_one_out


def answers(true_positives, false_negatives, true_negatives, false_positives):
    """Truth and answers with these counts, bool [N] both."""
    counts = (true_positives, false_negatives, true_negatives, false_positives)
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, False, True], counts)


def test_yes_no_figures_by_hand():
    figures = yes_no_figures(*answers(3, 1, 2, 1))
    assert figures["f1"] == pytest.approx(0.75)
    assert figures["balanced_accuracy"] == pytest.approx(0.7083, abs=5e-5)
    assert figures["precision"] == figures["recall"] == 0.75
    assert figures["specificity"] == pytest.approx(2 / 3)


def test_only_positives_leave_balanced_accuracy_undefined():
    figures = yes_no_figures(*answers(3, 1, 0, 0))
    assert figures["balanced_accuracy"] is None
    assert figures["specificity"] is None
    assert figures["recall"] == 0.75


def test_a_judge_that_never_says_yes_has_no_precision():
    figures = yes_no_figures(*answers(0, 4, 4, 0))
    assert figures["precision"] is None
    assert figures["f1"] == 0
    assert figures["balanced_accuracy"] == 0.5


def test_precision_at_the_true_rate():
    # Nine of ten found, one false alarm in a hundred; one window of a thousand fires: 0.9 true alarms to 9.99 false ones.
    assert precision_at_rate(0.9, 0.01, 0.001) == pytest.approx(0.9 / (0.9 + 9.99))
    assert precision_at_rate(0.0, 0.0, 0.5) is None
    assert f1_of(0.5, 1.0) == pytest.approx(2 / 3)
    assert f1_of(None, 1.0) is None
    assert f1_of(0.0, 0.0) is None


def test_pearson_by_hand_on_the_concatenation():
    simulated = np.array([[0, 10], [0, 5], [0, 0]], dtype=float)
    real = np.array([[0, 10], [0, 10], [0, 0]], dtype=float)
    assert pearson(simulated, real) == pytest.approx(0.9258, abs=5e-5)


def test_a_constant_side_has_no_correlation():
    assert pearson(np.full(5, 0.1), np.arange(5.0)) is None
    assert pearson(np.arange(5.0), np.full(5, 1e6)) is None


def test_r_squared_by_hand():
    real = np.array([1.0, 2.0, 3.0])
    assert r_squared(real, real) == 1
    assert r_squared(np.full(3, 2.0), real) == 0
    assert r_squared(np.full(3, 4.0), real) == pytest.approx(1 - 14 / 2)
    assert r_squared(real, np.full(3, 2.0)) is None


@given(arrays(np.float64, (12, 2), elements=st.integers(-50, 50).map(float)), arrays(np.intp, 12, elements=st.integers(0, 3)))
def test_leaving_a_cluster_out_is_the_same_as_correlating_the_rest(pairs, groups):
    totals = sums(pairs[:, 0], pairs[:, 1], groups, 4)
    for group, found in enumerate(leave_one_out(totals, pearson_of)):
        rest = pairs[groups != group]
        expected = pearson(rest[:, 0], rest[:, 1])
        if expected is None:
            assert np.isnan(found)
        else:
            assert found == pytest.approx(np.corrcoef(rest.T)[0, 1], abs=1e-9)


def test_kappa_by_hand():
    """Cohen's two-by-two: 20 both yes, 15 both no, 5 and 10 apart: agreement .7, expected .5, kappa .4."""
    a = np.repeat(["yes", "yes", "no", "no"], [20, 5, 10, 15])
    b = np.repeat(["yes", "no", "yes", "no"], [20, 5, 10, 15])
    assert cohens_kappa(a, b) == pytest.approx(0.4)


def test_kappa_of_perfect_and_opposite_answers():
    answers = np.array([1, 0, 1, 0])
    assert cohens_kappa(answers, answers) == pytest.approx(1)
    assert cohens_kappa(answers, 1 - answers) == pytest.approx(-1)


def test_always_the_same_answer_shows_no_agreement():
    assert cohens_kappa(np.ones(5), np.ones(5)) is None
    assert cohens_kappa(np.array([]), np.array([])) is None
    assert cohens_kappa(np.ones(4), np.array([1, 1, 0, 0])) == 0


def test_counts_of_answers_say_the_same():
    random = np.random.default_rng(0)
    a, b = random.integers(0, 3, 50), random.integers(0, 2, 50)
    counts = np.zeros((3, 3), int)
    np.add.at(counts, (a, b), 1)
    assert kappa_of_counts(counts) == cohens_kappa(a, b)
    assert kappa_of_counts(np.zeros((2, 2), int)) is None
    assert kappa_of_counts(np.array([[0, 0], [0, 7]])) is None
