"""A lift is a difference of two figures, and its interval no wider than they can differ."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from interp.domain.explanation import Explanation
from interp.score.base import CORRELATION, SHARE, Figure
from interp.score.controls.comparison import NullFigures, compare_with_nulls

DOCUMENTS = 6


def _borrowed(count):
    return [Explanation(feature=number, explainer="pattern", text="a", rule=None, provenance={}) for number in range(count)]


def test_two_nulls_say_little_and_no_more_than_there_is_to_say():
    """Their mean's t interval has 12.7 standard errors each way: it went from -0.8 to 1.8, and that of the lift up to 1.7."""
    replicates = np.full((DOCUMENTS, 2), (0.4, 0.6))
    found = compare_with_nulls(Figure(0.9, (0.7, 0.98), np.full(DOCUMENTS, 0.9)), NullFigures(np.array([0.4, 0.6]), replicates, None), _borrowed(2))
    assert -0.3 <= found.lift_interval.low < 0.4 < found.lift_interval.high <= 0.98


@given(st.lists(st.floats(0, 1), min_size=3, max_size=6), st.integers(0, 2**31 - 1), st.sampled_from([SHARE, CORRELATION]))
def test_a_lift_lies_within_what_the_figure_can_be(figures, seed, span):
    random = np.random.default_rng(seed)
    own, *nulls = (span[0] + (span[1] - span[0]) * figure for figure in figures)
    bounds = own - (own - span[0]) * random.random(), own + (span[1] - own) * random.random()
    replicates = np.clip(np.array(figures) + 0.3 * random.normal(size=(DOCUMENTS, len(figures))), *span)
    found = compare_with_nulls(
        Figure(own, bounds, replicates[:, 0], span=span), NullFigures(np.array(nulls), replicates[:, 1:], None), _borrowed(len(nulls))
    )
    assert span[0] - span[1] <= found.lift_interval.low <= found.lift + 1e-12
    assert found.lift - 1e-12 <= found.lift_interval.high <= span[1] - span[0]
