"""Figures of pages: what is undefined is a dash, and no text acts on the page."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from api.pages import figures
from api.pages.feature_view import token_markup
from api.schemas.explanations import IntervalAnswer


@pytest.mark.parametrize(
    ("form", "value", "expected"),
    [
        ("figure", None, "–"),
        ("figure", -0.001, "-0.001"),
        ("figure", -0.0, "0.00"),
        ("figure", 0.125, "0.12"),
        ("signed", 0.5, "+0.50"),
        ("signed", -0.5, "-0.50"),
        ("probability", 0.0002, "<0.001"),
        ("probability", 0.25, "0.250"),
        ("percent", 0.00257, "0.257%"),
        ("percent", 0.0, "0%"),
        ("percent", None, "–"),
        ("count", 60000, "60,000"),
        ("activation", 1.23456, "1.2346"),
        ("activation", 1e-9, "1e-09"),
        ("dollars", None, "unknown price"),
        ("dollars", 0.0123, "$0.0123"),
        ("duration", 90.0, "1.5 min"),
        ("token", " \n", "␣↵"),
        ("token", "", "∅"),
        ("segment", "a/b?c@1", "a%2Fb%3Fc@1"),
        ("prompt_text", {"messages": [{"role": "user", "content": "hi\x1b[2J"}]}, "user:\nhi␛[2J"),
        ("prompt_text", None, "no longer kept"),
        ("model_name", {"model": "m"}, "m"),
    ],
)
def test_a_value_is_shown_as_people_read_it(form: str, value: object, expected: str) -> None:
    assert figures.apply(value, form) == expected


def test_an_interval_and_a_moment() -> None:
    assert figures.interval(IntervalAnswer(low=0.1, high=0.9, level=0.95, method=None)) == "[0.10, 0.90]"
    assert figures.interval(None) == ""
    local = datetime(2026, 1, 2, 3, 4, tzinfo=timezone(timedelta(hours=2)))
    assert "2026-01-02 01:04 UTC" in figures.moment(local) == figures.moment(local.astimezone(UTC))


def test_a_token_is_no_markup() -> None:
    assert token_markup("<b>&\n'") == '&lt;b&gt;&amp;<span class="sign">↵</span><span class="break">\n</span>&#39;'


def test_a_long_text_is_cut() -> None:
    assert "10 more characters" in figures.prompt_text("a" * (figures.LONGEST + 10))
