"""Looking after every answer keeps the error rate; stopping early saves answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import xlogy

from interp.stats.sequential import Stop, balanced_sequence, decide, doubts, threshold
from tests.stats.streams import crossings

NOTHING = np.zeros(0, dtype=bool)


def _hits(right, count):
    return np.arange(count) < right


def test_no_answers_say_nothing():
    assert balanced_sequence(NOTHING, NOTHING) == (0, 1)


def test_one_stream_alone_leaves_half_open():
    low, high = balanced_sequence(_hits(200, 200), NOTHING)
    assert 0.45 < low < 0.5
    assert high == 1


@given(st.integers(0, 60), st.integers(0, 60), st.floats(0, 1), st.floats(0, 1))
def test_the_interval_holds_the_figure_seen(firing, silent, recall, specificity):
    hits = _hits(round(recall * firing), firing), _hits(round(specificity * silent), silent)
    low, high = balanced_sequence(*hits)
    assert 0 <= low <= high <= 1
    if firing and silent:
        assert low <= (hits[0].mean() + hits[1].mean()) / 2 <= high


def test_both_streams_and_both_sides_are_treated_alike():
    first, second = balanced_sequence(_hits(30, 40), _hits(10, 30)), balanced_sequence(_hits(10, 30), _hits(30, 40))
    assert first == pytest.approx(second)
    mirrored = balanced_sequence(_hits(10, 40), _hits(20, 30))
    assert mirrored == pytest.approx((1 - first[1], 1 - first[0]))


def test_a_known_population_closes_the_interval():
    """All windows asked: nothing is left open. Half of them: narrower than of endless many."""
    assert balanced_sequence(_hits(15, 20), _hits(30, 40), populations=(20, 40)) == pytest.approx((0.75, 0.75))
    some, all_of_many = (balanced_sequence(_hits(15, 20), _hits(15, 20), populations=size) for size in ((40, 40), None))
    assert all_of_many[0] < some[0] < some[1] < all_of_many[1]
    low, high = balanced_sequence(_hits(0, 20), _hits(20, 20), populations=(21, 21))
    assert 0.5 - 1 / 42 <= low <= 0.5 <= high <= 0.5 + 1 / 42


def test_a_very_large_population_is_as_good_as_none():
    endless = balanced_sequence(_hits(30, 40), _hits(35, 40))
    assert balanced_sequence(_hits(30, 40), _hits(35, 40), populations=(10**6, 10**6)) == pytest.approx(endless, abs=0.004)


def test_more_answers_than_windows_are_refused():
    with pytest.raises(ValueError, match="5 answers about 4 windows"):
        doubts(3, 5, 4)


def test_decisions():
    assert decide((0.8, 0.9), 0.75, None) is Stop.ABOVE
    assert decide((0.5, 0.7), 0.75, None) is Stop.BELOW
    assert decide((0.7, 0.8), 0.75, 0.1) is None
    assert decide((0.7, 0.8), 0.75, 0.11) is Stop.NARROW
    assert decide((0.7, 0.8), None, 0.2) is Stop.NARROW
    assert decide((0.75, 0.8), 0.75, None) is None


@pytest.mark.parametrize(("recall", "specificity"), [(0.5, 0.5), (0.75, 0.75), (0.6, 1.0), (0.95, 0.8)])
def test_looking_after_every_answer_keeps_the_error_rate(recall, specificity):
    """Nominal 5%. 3,000 runs here; `python -m benches.truth` makes 10,000 for each of more pairs, and looks ten times as long."""
    assert np.mean(np.isfinite(crossings(recall, specificity, 50, 3000, 0))) <= 0.05


def test_the_simulation_above_asks_what_the_interval_answers():
    """Ruled out there is outside of the interval here, up to a step of the grid."""
    random = np.random.default_rng(1)
    for _ in range(40):
        recall, specificity = random.uniform(0.3, 1, 2)
        hits = random.random((2, 60)) < [[recall], [specificity]]
        bounds = [balanced_sequence(hits[0, :count], hits[1, :count]) for count in range(1, 61)]
        true = 0.1
        outside = next((count for count, (low, high) in enumerate(bounds, 1) if not low <= true <= high), None)
        nearly = [threshold(2 * count) for count in range(1, 61)]
        best = [_doubt(hits[:, :count], 2 * true) - limit for count, limit in zip(range(1, 61), nearly, strict=True)]
        expected = next((count for count, excess in enumerate(best, 1) if excess > 0), None)
        assert outside is not None and expected is not None
        assert 0 <= outside - expected <= 3


def _doubt(hits, total):
    pairs = np.linspace(max(0.0, total - 1), min(1.0, total), 801)
    likelihood = sum(
        xlogy(row.sum(), rates) + xlogy(len(row) - row.sum(), 1 - rates) for row, rates in zip(hits, (pairs, total - pairs), strict=True)
    )
    best = sum(xlogy(row.sum(), row.mean()) + xlogy(len(row) - row.sum(), 1 - row.mean()) for row in hits)
    return float(best - likelihood.max())
