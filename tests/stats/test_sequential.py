"""Looking after every answer keeps the error rate; stopping early saves answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import xlogy

from benches.truth.streams import clustered, crossings
from interp.stats.sequential import balanced_sequence, decide, likelihood_of, threshold

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


def test_the_interval_does_not_close_on_the_windows_that_there_are():
    """The figure is the corpus's: forty windows all answered rightly leave it open, as any forty do."""
    low, high = balanced_sequence(_hits(40, 40), _hits(40, 40))
    assert low < 0.95
    assert high == 1


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_windows_of_documents_of_their_own_are_as_without(hits):
    right = np.array(hits)
    assert balanced_sequence(right, right, documents=(np.arange(len(hits)),) * 2) == balanced_sequence(right, right)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=1, max_size=40), st.integers(0, 40))
def test_documents_widen_the_interval_and_it_holds_the_figure_seen(pairs, right):
    hits, documents = (np.array(column) for column in zip(*pairs, strict=True))
    low, high = balanced_sequence(hits, _hits(right, 40), documents=(documents, np.arange(40)))
    assert 0 <= low <= (hits.mean() + right / 40) / 2 <= high <= 1
    below = likelihood_of(hits, documents).below
    peak = int(np.argmin(below))
    assert below[peak] == 0
    assert (np.diff(below[: peak + 1]) <= 0).all()
    assert (np.diff(below[peak:]) >= 0).all()


def test_documents_that_agree_with_themselves_count_as_one_window_each():
    """Four documents of ten windows, each wholly right or wholly wrong."""
    hits, documents = np.repeat(np.array([True, True, True, False]), 10), np.repeat(np.arange(4), 10)
    together = balanced_sequence(hits, hits, documents=(documents, documents))
    four, forty = balanced_sequence(hits[::10], hits[::10]), balanced_sequence(hits, hits)
    assert together[0] < forty[0] - 0.1
    assert together == pytest.approx(four, abs=0.12)


@pytest.mark.parametrize("each", [5, 10])
@pytest.mark.parametrize("rates", [(0.5, 0.5), (0.75, 0.75), (0.5, 0.9)])
def test_windows_of_one_document_keep_the_error_rate(rates, each):
    """An intra-document correlation of 0.3: it erred in 6 to 8% with five windows a document, in 16 to 17% with ten, where 5% are promised."""
    error, _ = clustered(rates, each, 0.3, 120, 0)
    assert error <= 0.05


def test_decisions():
    assert decide((0.8, 0.9), 0.75, None) == "above"
    assert decide((0.5, 0.7), 0.75, None) == "below"
    assert decide((0.7, 0.8), 0.75, 0.1) is None
    assert decide((0.7, 0.8), 0.75, 0.11) == "narrow"
    assert decide((0.7, 0.8), None, 0.2) == "narrow"
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
