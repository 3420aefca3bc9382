"""A drawing of pairs, of whatever figures and names."""

import math

import pytest

from api.pages.scatter import MOST_INTERVALS, PlottedPair, scatter


@pytest.mark.parametrize("points", [[], [(math.nan, 0.5)], [(math.inf, 0.5), (0.1, -math.inf)]])
def test_without_a_finite_pair_nothing_is_drawn(points: list[tuple[float, float]]) -> None:
    assert scatter([PlottedPair(*point) for point in points], "a", "b", "c") == ""


def test_what_is_not_finite_is_left_out_and_names_are_escaped() -> None:
    drawn = scatter([PlottedPair(0.5, 0.5), PlottedPair(0.5, 0.5), PlottedPair(math.nan, 1.0)], "<b>x", 'y"', "<script>")
    assert drawn.count("<circle") == 2
    assert "<b>" not in drawn
    assert "<script>" not in drawn
    assert "nan" not in drawn


def test_intervals_are_drawn_where_points_are_few() -> None:
    points = [PlottedPair(0.5, 0.25, (0.0, 1.0), (None, None)), PlottedPair(0.5, 0.75, (math.nan, 0.6), (0.5, 1.0))]
    drawn = scatter(points, "a", "b", "c")
    assert drawn.count('class="interval"') == 2
    assert "nan" not in drawn
    assert 'class="interval"' not in scatter(points * MOST_INTERVALS, "a", "b", "c")
