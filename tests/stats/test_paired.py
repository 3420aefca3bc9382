"""A p value of its own: exact by count, valid where two explanations are exchangeable, and none where it could say nothing."""

import numpy as np
import pytest

from interp.stats.paired import EXACT, paired_p

RUNS = 2_000


def test_by_hand():
    """Five documents, all better by one: of 32 assignments of signs one reaches the sum. One worse: six of them."""
    assert paired_p(np.ones((5, 1))) == pytest.approx(1 / 32)
    assert paired_p(np.array([[1.0], [1.0], [1.0], [1.0], [-1.0]])) == pytest.approx(6 / 32)


def test_documents_without_a_difference_say_nothing():
    assert paired_p(np.concatenate([np.ones((5, 1)), np.zeros((5, 1))])) == pytest.approx(1 / 32)
    assert paired_p(np.zeros((8, 2))) == 1


def test_the_best_other_explanation_decides():
    one, other = np.ones((6, 1)), np.array([[1.0], [-1.0], [1.0], [-1.0], [1.0], [1.0]])
    assert paired_p(np.concatenate([one, other], axis=1)) == paired_p(other)


def test_undefined_others_are_left_out_and_too_little_gives_none():
    assert paired_p(np.concatenate([np.ones((6, 1)), np.full((6, 1), np.nan)], axis=1)) == pytest.approx(1 / 64)
    assert paired_p(np.full((6, 2), np.nan)) is None
    assert paired_p(np.ones((4, 3))) is None, "of four documents the least p is 1/16"
    assert paired_p(np.zeros((0, 2))) is None


def test_the_same_each_time():
    differences = np.random.default_rng(0).normal(size=(60, 3))
    assert paired_p(differences) == paired_p(differences.copy())


@pytest.mark.parametrize("documents", [5, EXACT, EXACT + 1, 40])
@pytest.mark.parametrize("shape", ["normal", "heavy tails", "ties", "one document has most"])
def test_exchangeable_explanations_are_significant_no_more_often_than_promised(documents, shape):
    random = np.random.default_rng(documents)

    def answers():
        drawn = {
            "normal": random.normal(size=(documents, 2)),
            "heavy tails": random.standard_t(1.5, size=(documents, 2)),
            "ties": random.integers(0, 2, size=(documents, 2)).astype(float),
            "one document has most": random.normal(size=(documents, 2)),
        }[shape]
        drawn[0] *= 20 if shape == "one document has most" else 1
        return drawn

    p = np.array([paired_p(pair[:, :1] - pair[:, 1:]) for pair in (answers() for _ in range(RUNS))])
    assert np.mean(p <= 0.05) <= 0.065
    assert np.mean(p <= 0.01) <= 0.018


def test_a_lasting_difference_is_found():
    random = np.random.default_rng(1)
    p = [paired_p(random.normal(0.8, 1.0, size=(40, 2))) for _ in range(200)]
    assert np.mean(np.array(p) <= 0.01) > 0.9
