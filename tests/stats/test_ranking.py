"""Areas under curves: worked out by hand, ties and all, with intervals that cover."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm, rankdata

from interp.stats.ranking import auprc, auroc, auroc_bounds, auroc_replicates, midranks

RUNS = 1500
GRADED = st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 5)), min_size=2, max_size=30)


def test_auroc_by_hand():
    """Six pairs: 0.8 beats both silent ones, 0.4 ties with one and beats one, 0.1 loses to both."""
    scores, truth = np.array([0.8, 0.4, 0.1, 0.4, 0.2]), np.array([1, 1, 1, 0, 0], dtype=bool)
    assert auroc(scores, truth) == pytest.approx((2 + 1.5 + 0) / 6)


def test_auprc_by_hand():
    """Points at recall 1/2 with precision 1, and at recall 1 with precision 2/3."""
    assert auprc(np.array([0.9, 0.5, 0.4, 0.1]), np.array([1, 0, 1, 0], dtype=bool)) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    # Tied grades are one point: their order must not matter.
    assert auprc(np.array([0.5, 0.5, 0.1]), np.array([1, 0, 1], dtype=bool)) == pytest.approx(0.5 * 1 / 2 + 0.5 * 2 / 3)
    assert auprc(np.full(10, 0.3), np.arange(10) < 3) == pytest.approx(0.3)


def test_without_both_sides_there_is_no_area():
    scores = np.array([0.1, 0.2])
    assert auroc(scores, np.ones(2, dtype=bool)) is None
    assert auroc(scores, np.zeros(2, dtype=bool)) is None
    assert auprc(scores, np.zeros(2, dtype=bool)) is None
    assert auroc_bounds(scores, np.ones(2, dtype=bool), np.arange(2)) is None


@given(st.lists(st.floats(allow_infinity=False), max_size=20))
def test_midranks_are_scipys(values):
    np.testing.assert_array_equal(midranks(np.array(values, dtype=float)), rankdata(np.array(values, dtype=float)))


@given(GRADED)
def test_auroc_is_the_share_of_pairs_and_yes_no_grades_give_balanced_accuracy(rows):
    scores, truth = np.array([row[0] for row in rows], dtype=float), np.array([row[1] for row in rows])
    if truth.all() or not truth.any():
        assert auroc(scores, truth) is None
        return
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[truth] for b in scores[~truth]]
    assert auroc(scores, truth) == pytest.approx(np.mean(pairs))
    said = scores > 2
    assert auroc(said.astype(float), truth) == pytest.approx((said[truth].mean() + (~said)[~truth].mean()) / 2)


@given(GRADED)
def test_an_interval_holds_the_area_within_the_scale_and_has_a_width(rows):
    scores, truth, clusters = (np.array(column) for column in zip(*rows, strict=True))
    found = auroc_bounds(scores.astype(float), truth, clusters)
    if found is None:
        assert truth.all() or not truth.any()
        return
    assert 0 <= found[0] <= auroc(scores.astype(float), truth) <= found[1] <= 1
    assert found[1] - found[0] > 0.01


@given(GRADED)
def test_replicates_leave_one_cluster_out(rows):
    scores, truth, clusters = (np.array(column) for column in zip(*rows, strict=True))
    figures, replicates = auroc_replicates(np.stack([scores, -scores]).astype(float), truth, clusters)
    assert figures[0] == pytest.approx(auroc(scores.astype(float), truth) if 0 < truth.sum() < len(truth) else np.nan, nan_ok=True)
    for cluster, row in enumerate(replicates):
        rest = clusters != cluster
        expected = auroc(-scores[rest].astype(float), truth[rest])
        assert row[1] == pytest.approx(np.nan if expected is None else expected, nan_ok=True)


@pytest.mark.parametrize(("shift", "spread", "size"), [(0.0, 0.0, 1), (1.0, 0.0, 1), (2.0, 0.0, 1), (1.0, 1.0, 3)])
def test_areas_are_covered(shift, spread, size):
    """40 firing and 50 silent items, normal grades; in the last case three items a document that lean alike."""
    random, true = np.random.default_rng(0), norm.cdf(shift / np.sqrt(2) / np.sqrt(1 + spread**2))
    truth, covered = np.arange(90) < 40, 0
    for _ in range(RUNS):
        clusters = random.integers(0, 90 // size, 90)
        scores = truth * shift + random.normal(size=90) + (spread * random.normal(size=90))[clusters]
        low, high = auroc_bounds(scores, truth, clusters)
        covered += low <= true <= high
    assert 0.925 <= covered / RUNS <= 0.975


def test_near_one_the_interval_still_covers():
    random, truth, covered = np.random.default_rng(1), np.arange(60) < 30, 0
    for _ in range(RUNS):
        said = random.random(60) < np.where(truth, 0.98, 0.02)
        low, high = auroc_bounds(said.astype(float), truth, np.arange(60))
        covered += low <= 0.98 <= high
    assert covered / RUNS >= 0.94
