"""Dictionaries by L0 and quality: fronts by the definition, comparisons at matched L0 alone, curves against a fine grid."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp.domain.check_report import Figure
from interp.domain.errors import InputError
from interp.health.pareto import MeasureReport, Point, pareto


def point(name: str, l0: float, quality: float, *, family: str = "a", error: float | None = 0.01, l0_error: float | None = 0.1) -> Point:
    return Point(name, family, Figure(l0, l0_error), Figure(1 - quality, error), Figure(quality, error))


def reports(*points: Point) -> tuple[MeasureReport, MeasureReport]:
    """Return the reports by CE recovered and by FVU, which must mirror each other here."""
    report = pareto(points)
    json.dumps(asdict(report), allow_nan=False)
    recovered, fvu = report.measures
    assert (recovered.measure, fvu.measure) == ("ce_recovered", "fvu")
    assert [standing.dominated_by for standing in recovered.front] == [standing.dominated_by for standing in fvu.front]
    return recovered, fvu


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 5)), min_size=1, max_size=12))
def test_the_front_is_who_nobody_beats(pairs: list[tuple[int, int]]) -> None:
    recovered, _ = reports(*(point(str(place), l0, quality / 10) for place, (l0, quality) in enumerate(pairs)))
    for standing, (l0, quality) in zip(recovered.front, pairs, strict=True):
        beaten = [
            str(place) for place, (other, better) in enumerate(pairs) if (other, -better) != (l0, -quality) and other <= l0 and better >= quality
        ]
        assert standing.dominated_by == tuple(beaten) and standing.on_front == (not beaten)
        assert set(standing.clearly) <= set(beaten)


def test_a_lead_within_the_error_is_not_clear() -> None:
    recovered, _ = reports(point("good", 10, 0.9), point("near", 20, 0.88), point("far", 20, 0.8), point("unknown", 30, 0.1, error=None))
    by_name = {standing.dictionary: standing for standing in recovered.front}
    assert by_name["near"].dominated_by == ("good",) and by_name["near"].clearly == ()
    assert by_name["far"].clearly == ("good",) and by_name["unknown"].clearly == ()
    assert len(by_name["unknown"].dominated_by) == 3


@pytest.mark.parametrize(
    ("l0", "error", "matched"),
    [(104, 0.0, True), (106, 0.0, False), (106, None, False), (115, 5.0, True), (115, 3.0, False), (150, 100.0, False), (96, 0.0, True)],
)
def test_dictionaries_are_compared_at_matched_l0_alone(l0: float, error: float | None, matched: bool) -> None:
    recovered, fvu = reports(point("one", 100, 0.9, l0_error=error), point("other", l0, 0.8, l0_error=error))
    for report, sign in ((recovered, 1), (fvu, -1)):
        difference = report.comparisons[0].difference
        if matched:
            assert difference.value == pytest.approx(sign * 0.1) and difference.standard_error == pytest.approx(0.01 * 2**0.5)
        else:
            assert difference.value is None and "not matched" in (difference.why or "")


def test_curves_differ_by_the_mean_over_log_l0_of_a_fine_grid() -> None:
    one = [(8, 0.5), (20, 0.7), (100, 0.8), (100, 0.84)]
    other = [(5, 0.6), (30, 0.65), (64, 0.9)]
    points = [point(f"{family}{place}", *pair, family=family) for family, pairs in (("a", one), ("b", other)) for place, pair in enumerate(pairs)]
    curve = reports(*points)[0].curves[0]
    grid = np.linspace(np.log(8), np.log(64), 200_001)
    expected = np.interp(grid, np.log([8, 20, 100]), [0.5, 0.7, 0.82]) - np.interp(grid, np.log([5, 30, 64]), [0.6, 0.65, 0.9])
    assert (curve.low, curve.high) == (pytest.approx(8), pytest.approx(64))
    assert curve.difference.value == pytest.approx(expected.mean(), abs=1e-5)
    assert (curve.least, curve.greatest) == (pytest.approx(expected.min(), abs=1e-5), pytest.approx(expected.max(), abs=1e-5))


def test_the_error_of_a_curve_is_that_of_repeated_measurement() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(600):
        noisy = [point(f"{family}{l0}", l0, 0.5 + 0.02 * rng.normal(), family=family, error=0.02) for family in "ab" for l0 in (10, 30, 70)]
        found.append(pareto(noisy).measures[0].curves[0].difference)
    values = [figure.value for figure in found]
    assert np.std(values) == pytest.approx(found[0].standard_error or 0, rel=0.1)


def test_curves_that_share_no_range_or_have_one_point_are_refused() -> None:
    far = reports(point("1", 5, 0.5), point("2", 9, 0.6), point("3", 9, 0.7, family="b"), point("4", 20, 0.8, family="b"))[0].curves[0]
    assert far.difference.value is None and "common range" in (far.difference.why or "")
    lone = reports(point("1", 5, 0.5), point("2", 9, 0.6), point("3", 7, 0.7, family="b"), point("4", 7, 0.8, family="b"))[0].curves[0]
    assert lone.difference.why == "b has no two points of different L0: there is no curve."
    unknown = reports(*(point(f"{family}{l0}", l0, 0.5, family=family, error=None) for family in "ab" for l0 in (3, 4)))[0].curves[0]
    assert unknown.difference.value == 0 and unknown.difference.standard_error is None and unknown.difference.why


def test_undefined_figures_keep_a_dictionary_out_with_the_reason() -> None:
    neurons = Point("neurons", "n", Figure(40.0), Figure(None, why="nothing is reconstructed"), Figure(None, why="nothing is reconstructed"))
    silent = Point("silent", "s", Figure(0.0), Figure(1.0), Figure(0.0))
    unread = Point("unread", "s", Figure(None, why="no tokens"), Figure(1.0), Figure(0.0))
    recovered, _ = reports(neurons, silent, unread, point("one", 10, 0.9))
    assert [standing.on_front for standing in recovered.front] == [None, None, None, True]
    assert [
        "reconstructed" in (recovered.front[0].why or ""),
        "fires" in (recovered.front[1].why or ""),
        "tokens" in (recovered.front[2].why or ""),
    ] == [True] * 3
    assert recovered.comparisons == () and pareto([]).measures[0].front == ()


def test_too_many_and_twice_the_same_are_refused() -> None:
    with pytest.raises(InputError, match="at most 64"):
        pareto([point(str(place), 1 + place, 0.5) for place in range(65)])
    with pytest.raises(InputError, match="same name"):
        pareto([point("one", 1, 0.5), point("one", 2, 0.5)])
