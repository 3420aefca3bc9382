"""Intervals: worked out by hand, never of zero width, and covering the truth as often as they say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp.stats.intervals import (
    adjusted_residuals,
    cluster_degrees,
    clustered_proportion,
    mover_difference,
    mover_mean,
    weighted_proportion,
    wilson,
    within,
)

RUNS = 1500


def test_wilson_by_hand():
    low, high = wilson(0.9, 10, 1.959964)
    assert (low, high) == pytest.approx((0.5958, 0.9821), abs=5e-5)


def test_perfect_shares_keep_a_width():
    hits = np.ones(20, dtype=bool)
    low, high = clustered_proportion(hits, np.arange(20))
    assert high == 1
    assert 0.8 < low < 0.85
    low, high = clustered_proportion(~hits, np.arange(20))
    assert low == 0
    assert 0.15 < high < 0.2


def test_windows_of_one_document_count_as_one_when_they_agree():
    hits = np.repeat(np.array([1, 0, 1, 1, 0, 1], dtype=bool), 5)
    alone = clustered_proportion(hits[::5], np.arange(6))
    together = clustered_proportion(hits, np.repeat(np.arange(6), 5))
    apart = clustered_proportion(hits, np.arange(30))
    assert apart[1] - apart[0] < together[1] - together[0]
    assert together == pytest.approx(alone, abs=0.03)


def test_one_document_says_almost_nothing():
    low, high = clustered_proportion(np.array([True, False, True]), np.zeros(3, dtype=np.intp))
    assert high - low > 0.9


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=30))
def test_intervals_hold_the_share_and_have_a_width(pairs):
    hits, clusters = np.array([hit for hit, _ in pairs]), np.array([cluster for _, cluster in pairs])
    low, high = clustered_proportion(hits, clusters)
    assert 0 <= low <= hits.mean() <= high <= 1
    assert high - low > 0.01


@given(st.lists(st.tuples(st.booleans(), st.floats(0.01, 100), st.integers(0, 5)), min_size=1, max_size=30), st.floats(0.01, 100))
def test_a_weighted_share_lies_within_and_knows_no_unit(rows, unit):
    hits, weights, clusters = (np.array(column) for column in zip(*rows, strict=True))
    low, high = weighted_proportion(hits, weights, clusters)
    assert 0 <= low <= weights[hits].sum() / weights.sum() + 1e-9
    assert weights[hits].sum() / weights.sum() - 1e-9 <= high <= 1
    assert high - low > 0.01
    assert weighted_proportion(hits, weights * unit, clusters) == pytest.approx((low, high), abs=1e-6)


@given(st.lists(st.booleans(), min_size=1, max_size=10))
def test_equal_weights_change_nothing(shown):
    hits = np.repeat(np.array(shown), 3)
    for clusters in (np.arange(len(hits)), np.repeat(np.arange(len(shown)), 3)):
        assert weighted_proportion(hits, np.full(len(hits), 0.7), clusters) == pytest.approx(clustered_proportion(hits, clusters))


def test_mover_by_hand():
    assert mover_mean(0.8, (0.5, 0.9), 0.6, (0.2, 0.7)) == pytest.approx((0.45, 0.7 + np.sqrt(0.02) / 2))
    assert mover_difference(0.8, (0.5, 0.9), 0.6, (0.2, 0.9), 0) == pytest.approx((0.2 - np.hypot(0.3, 0.3), 0.2 + np.hypot(0.1, 0.4)))
    assert mover_difference(0.8, (0.7, 0.9), 0.6, (0.5, 0.7), 1) == pytest.approx((0.2, 0.2))


SPANS = st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)).map(sorted)


@given(SPANS, SPANS, st.floats(-1, 1))
def test_a_difference_lies_within_what_its_figures_leave(first, second, correlation):
    """Two figures from 0 to 1 do not differ by 1.12."""
    low, high = mover_difference(first[1], (first[0], first[2]), second[1], (second[0], second[2]), correlation)
    assert first[0] - second[2] <= low <= first[1] - second[1] <= high <= first[2] - second[0]


def test_an_interval_is_cut_to_the_range_of_its_figure():
    assert within((-3.0, 3.5), (0.0, 1.0)) == (0, 1)
    assert within((0.2, 0.4), (0.0, 1.0)) == (0.2, 0.4)


def _clustered_hits(random, documents, size, rate, spread):
    """Windows of documents whose own rates spread around the true one (beta), as many a document as Poisson gives, one at least."""
    rates = rate + np.zeros(documents) if spread == 0 else random.beta(rate / spread, (1 - rate) / spread, documents)
    sizes = 1 + random.poisson(size - 1, documents)
    clusters = np.repeat(np.arange(documents), sizes)
    return random.random(len(clusters)) < rates[clusters], clusters


@pytest.mark.parametrize(
    ("documents", "size", "recall", "specificity", "spread"), [(30, 1.2, 0.7, 0.8, 0.0), (30, 1.5, 0.6, 0.9, 0.3), (40, 2.0, 0.85, 0.75, 0.2)]
)
def test_balanced_accuracy_is_covered(documents, size, recall, specificity, spread):
    random = np.random.default_rng(0)
    covered = []
    for _ in range(RUNS):
        parts = []
        for rate in (recall, specificity):
            hits, clusters = _clustered_hits(random, documents, size, rate, spread)
            parts += [float(hits.mean()), clustered_proportion(hits, clusters)]
        low, high = mover_mean(*parts)
        covered.append(low <= (recall + specificity) / 2 <= high)
    assert 0.93 <= np.mean(covered) <= 0.975


def test_degrees_of_equal_clusters_are_one_less_and_a_large_one_leaves_few():
    assert cluster_degrees(np.full(20, 1 / 20)) == 19
    assert cluster_degrees(np.ones(1)) == 1
    assert cluster_degrees(np.array([0.5, *np.full(20, 0.025)])) == 3.6
    assert cluster_degrees(np.array([0.9, 0.1])) == 1


@given(st.lists(st.integers(1, 9), min_size=2, max_size=12))
def test_degrees_lie_between_one_and_those_of_equal_clusters(sizes):
    weights = np.array(sizes) / sum(sizes)
    assert 1 <= cluster_degrees(weights) <= len(sizes) - 1 + 0.05
    assert (adjusted_residuals(np.ones(len(sizes)), weights) >= 1).all()


@pytest.mark.parametrize("spread", [0.1, 0.3, 0.6])
@pytest.mark.parametrize(("windows", "documents", "share"), [(40, 21, 0.5), (40, 17, 0.6), (20, 11, 0.5), (40, 25, 0.4)])
def test_a_document_that_holds_half_of_the_windows_is_one_document(windows, documents, share, spread):
    """Documents minus one for the degrees of freedom covered 73 to 93%."""
    random, rate = np.random.default_rng(0), 0.7
    large = round(share * windows)
    sizes = np.array([large, *(len(part) for part in np.array_split(np.arange(windows - large), documents - 1))])
    clusters = np.repeat(np.arange(documents), sizes)
    rates = random.beta(rate * (1 / spread - 1), (1 - rate) * (1 / spread - 1), (RUNS, documents))
    hits = random.random((RUNS, windows)) < rates[:, clusters]
    ends = np.array([clustered_proportion(row, clusters) for row in hits])
    assert np.mean((ends[:, 0] <= rate) & (rate <= ends[:, 1])) >= 0.94


def test_near_one_the_interval_still_covers():
    """Rates of 0.97 and 0.99: most samples are perfect, where a normal interval has no width and covers nothing."""
    random = np.random.default_rng(1)
    covered = []
    for _ in range(RUNS):
        parts = []
        for rate in (0.97, 0.99):
            hits, clusters = _clustered_hits(random, 40, 1.2, rate, 0.0)
            parts += [float(hits.mean()), clustered_proportion(hits, clusters)]
        low, high = mover_mean(*parts)
        covered.append(low <= 0.98 <= high)
    assert np.mean(covered) >= 0.94
