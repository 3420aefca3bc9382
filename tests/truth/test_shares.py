"""Intervals of shares of few questions, and p values of judges who guess."""

import numpy as np
import pytest

from benches.truth.shares import GRID, coverage, interval_line, measure_of, null_line
from interp.score.scorers import generation, output
from interp.stats.intervals import wilson


@pytest.mark.parametrize("questions", [generation.TEXTS, output.PROMPTS])
def test_the_interval_is_wilsons_of_independent_questions_and_covers_95_percent(questions: int) -> None:
    for count in range(questions + 1):
        figure = measure_of(np.arange(questions)[None] < count).figure()
        assert figure.bounds == pytest.approx(wilson(count / questions, questions, 1.959964), abs=1e-6)
    found = coverage(questions)
    assert 0.93 <= found.mean() <= 0.97
    assert found.min() > 0.9
    assert interval_line("output", questions)["interval_coverage"] == found.mean()
    assert len(found) == len(GRID)


@pytest.mark.parametrize("nulls", [2, 20])
def test_guesses_are_seldom_significant_and_by_lot_in_5_percent(nulls: int) -> None:
    random = np.random.default_rng(nulls)
    line = null_line("output", "guesses", (random.random((1 + nulls, 10)) < 1 / 3 for _ in range(400)), random)
    assert line["null_false_positive_rate"] <= 0.08
    assert line["paired_false_positive_rate"] <= 0.02
    assert 0.02 <= line["with_ties_by_lot"] <= 0.085
    assert line["runs"] == 400
