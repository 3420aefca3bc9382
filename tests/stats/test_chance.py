"""Cohen's kappa."""

import numpy as np
import pytest

from interp.stats.chance import cohens_kappa, kappa_of_counts


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
