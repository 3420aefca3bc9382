"""The interval of a correlation: where it is not defined, what it never does, and how often it holds the truth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from benches.truth.score_windows import World
from interp.stats.agreement import pearson_of, sums
from interp.stats.correlation import MIN_DOCUMENTS, firing_documents, pearson_bounds, ranks_above_lowest

RUNS = 300


def _totals(predicted, real):
    """Sums of documents, one a row."""
    predicted, real = np.atleast_2d(predicted).astype(float), np.atleast_2d(real).astype(float)
    return sums(predicted.ravel(), real.ravel(), np.repeat(np.arange(len(real)), real.shape[1]), len(real))


def test_documents_that_all_agree_leave_a_width():
    """They had an interval from 1 to 1, and from .8 to .8 where leaving out any document changes nothing."""
    real = np.tile([0, 0, 0, 2.0], (6, 1))
    low, high = pearson_bounds(_totals(real, real))
    assert low < 0.95
    assert high == pytest.approx(1)
    totals = _totals(np.tile([0, 0, 1, 2.0], (6, 1)), np.tile([0, 0, 2.0, 1], (6, 1)))
    low, high = pearson_bounds(totals)
    assert high - low > 0.1
    assert low < float(pearson_of(totals.sum(axis=0))) < high


def test_a_label_that_hit_nothing_may_yet_hit():
    """A prediction that fires beside every firing token: r is a little below 0, and 20 documents do not show that it is."""
    predicted, real = np.zeros((20, 32)), np.zeros((20, 32))
    real[:, 3], predicted[:, 9] = 2, 2
    low, high = pearson_bounds(_totals(predicted, real))
    assert low < -0.03
    assert high > 0


@given(st.lists(st.sampled_from([-1.0, 0, 0, 0, 0.5, 1, 2]), min_size=1, max_size=40))
def test_ranks_are_midranks_counted_from_the_lowest(values):
    ranks = rankdata(values)
    np.testing.assert_array_equal(ranks_above_lowest(np.array(values, dtype=float)), ranks - ranks.min())


def test_few_firing_documents_have_no_interval():
    real = np.zeros((40, 8))
    real[: MIN_DOCUMENTS - 1, 2] = 1
    assert pearson_bounds(_totals(real, real)) is None
    real[MIN_DOCUMENTS, 2] = 1
    assert firing_documents(_totals(real, real)) == MIN_DOCUMENTS
    assert pearson_bounds(_totals(real, real)) is not None


def test_a_side_that_is_constant_without_one_document_has_no_interval():
    real = np.tile([0, 1.0], (6, 1))
    predicted = np.zeros((6, 2))
    predicted[0, 1] = 1
    assert pearson_bounds(_totals(predicted, real)) is None


def test_one_document_that_decides_is_one_document():
    """Of 30 documents one is a hundred times as strong: what it alone says is hardly anything."""
    random = np.random.default_rng(0)
    real = (random.random((30, 32)) < 0.05) * random.uniform(0.5, 1.5, (30, 32))
    predicted = (real > 0).astype(float)
    even = pearson_bounds(_totals(predicted, real))
    real[0, 5] = predicted[0, 5] = 100.0
    led = pearson_bounds(_totals(predicted, real))
    assert even[1] - even[0] < 0.3
    assert led[1] - led[0] > 0.6


def test_one_document_that_speaks_against_a_label_does_not_undo_the_others():
    """Of 45 documents one is predicted wrongly. r is .96, and the corrections for its weight gave an interval from -1 to 1."""
    random = np.random.default_rng(0)
    real = (random.random((45, 32)) < 0.05) * random.uniform(0.5, 1.5, (45, 32))
    predicted = real.copy()
    real[0, 5], predicted[0, 5] = 2.5, 0
    totals = _totals(predicted, real)
    low, high = pearson_bounds(totals)
    assert 0.94 < float(pearson_of(totals.sum(axis=0))) < 0.98
    assert 0.6 < low < 0.9
    assert high > 0.98


TOKENS = st.lists(st.tuples(st.integers(0, 9), st.sampled_from([0, 0, 0.25, 1, 7]), st.sampled_from([0, 0, 0.5, 2, 60])), min_size=2, max_size=80)


@given(TOKENS, st.floats(1e-3, 1e3))
def test_an_interval_holds_its_value_has_a_width_and_knows_no_unit(tokens, unit):
    documents, predicted, real = (np.array(column) for column in zip(*tokens, strict=True))
    totals = sums(predicted.astype(float), real.astype(float), documents, 10)
    totals = totals[totals[:, 0] > 0]
    value, found = float(pearson_of(totals.sum(axis=0))), pearson_bounds(totals)
    if found is None:
        return
    assert -1 <= found[0] <= value + 1e-9
    assert value - 1e-9 <= found[1] <= 1
    assert found[1] - found[0] > 1e-3
    scaled = pearson_bounds(totals * np.array([1, 1, unit, 1, unit**2, unit]))
    assert scaled == pytest.approx(found, abs=1e-4)


@pytest.mark.parametrize(
    "world",
    [
        World("uniform", "rule", 0.9, 20),
        World("exponential", "graded", 0.6, 10),
        World(0.8, "rule", 0.6, 20, each=3),
        World(0.8, "noisy", 0.95, 5),
        World(1.2, "rule", 0.9, 20),
        World(1.2, "noisy", 0.6, 20, each=3),
        World(1.2, "graded", 0.95, 10),
        World("exponential", "rule", 0.05, 20),
        World("uniform", "graded", 0.0, 10),
        World(0.8, "rule", 0.8, 20, large=0.5),
    ],
    ids=str,
)
def test_the_true_correlation_is_covered(world):
    """95% promised; `python -m benches.truth --only pearson_coverage` has the grid. 300 runs of 93% give 90% or more in 97 of 100 cases."""
    true, found = world.true(runs=2000), [pearson_bounds(totals) for totals in world.totals(np.random.default_rng(1), RUNS)]
    covered = [low <= true <= high for low, high in filter(None, found)]
    assert len(covered) > 0.9 * RUNS
    assert np.mean(covered) >= 0.91
