"""An auction's assignment is SciPy's, up to the least rise of a price, and its bound holds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from interp.stats.auction import UNASSIGNED, Assignment, auction


def sold(matrix: np.ndarray, k: int, epsilon: float, looks: int = 10_000) -> Assignment:
    def nearest(rows: np.ndarray, prices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        nets = matrix[rows] - prices
        order = np.argsort(-nets, axis=1)[:, :k]
        return np.take_along_axis(nets, order, axis=1), order

    every = np.arange(len(matrix))
    return auction(*nearest(every, np.zeros(matrix.shape[1])), matrix.shape[1], nearest, epsilon=epsilon, looks=looks)


@st.composite
def matrices(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    rows = draw(st.integers(1, 30))
    columns = draw(st.integers(rows, 40))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    matrix = random.uniform(-1, 1, (rows, columns))
    rounded = draw(st.sampled_from([None, 1, 0]))  # Ties: ten values, or three.
    return (matrix if rounded is None else matrix.round(rounded)), draw(st.integers(min(2, columns), columns))


@given(matrices(), st.sampled_from([1e-2, 1e-3]))
def test_the_sum_is_within_the_least_rises_of_the_greatest(drawn: tuple[np.ndarray, int], epsilon: float) -> None:
    matrix, k = drawn
    found = sold(matrix, k, epsilon)
    rows, columns = linear_sum_assignment(matrix, maximize=True)
    best = matrix[rows, columns].sum()
    assert sorted(set(found.columns.tolist())) == sorted(found.columns.tolist()) and found.columns.min() >= 0
    value = matrix[np.arange(len(matrix)), found.columns].sum()
    assert best - len(matrix) * epsilon - 1e-9 <= value <= best + 1e-9
    assert best - 1e-9 <= found.bound <= value + len(matrix) * epsilon + 1e-9


@given(matrices(), st.integers(0, 3))
def test_the_bound_holds_where_rows_are_left_without_a_column(drawn: tuple[np.ndarray, int], looks: int) -> None:
    matrix, _ = drawn
    found = sold(matrix, 1, 1e-3, looks)
    rows, columns = linear_sum_assignment(matrix, maximize=True)
    assert found.bound >= matrix[rows, columns].sum() - 1e-9
    taken = found.columns[found.columns != UNASSIGNED]
    assert len(set(taken.tolist())) == len(taken)


def test_rows_that_want_one_column_are_left_over_without_a_look() -> None:
    matrix = np.zeros((3, 5))
    matrix[:, 2] = 1
    assert (sold(matrix, 1, 1e-3, looks=0).columns != UNASSIGNED).sum() == 1
    assert sold(matrix, 2, 1e-3, looks=50).bound == pytest.approx(1, abs=0.01)
