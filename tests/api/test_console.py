"""Figures as the command line prints them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.cli.output.console import figure


@pytest.mark.parametrize(
    ("value", "signed", "shown"),
    [(None, False, "–"), (-0.0, False, "0.00"), (-0.004, False, "0.00"), (-0.004, True, "+0.00"), (-0.006, True, "-0.01"), (0.845, True, "+0.84")],
)
def test_a_figure_has_two_digits_and_zero_has_no_minus(value: float | None, signed: bool, shown: str) -> None:
    assert figure(value, signed=signed) == shown


@given(st.floats(-1, 1), st.booleans(), st.integers(0, 4))
def test_what_is_shown_is_negative_only_where_it_shows(value: float, signed: bool, digits: int) -> None:
    shown = figure(value, digits, signed)
    assert shown.startswith("-") == (float(shown) < 0)
    assert abs(float(shown) - value) <= 0.5000001 * 10**-digits
