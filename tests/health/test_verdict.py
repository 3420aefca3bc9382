"""A verdict says which of two reports is better, and no more than their errors allow."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.health.verdict import EXACT, NO_CONTROL, VerdictLine, verdict

GOLDEN = Path(__file__).parent.parent / "api" / "golden" / "health.json"


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """The report of the tiny test model's dictionary."""
    found: dict[str, Any] = json.loads(GOLDEN.read_text())["report"]
    found["reconstruction"]["splicing"]["kl"] = {"value": 0.5, "standard_error": 0.03, "why": None}
    return found


def lines(*given: Any) -> dict[str, VerdictLine]:
    return {line.figure: line for line in verdict(*given)}


@pytest.mark.parametrize(("kl", "expected"), [(0.7, "better"), (0.3, "worse"), (0.55, "not told apart")])
def test_a_difference_counts_beyond_the_errors_of_both(report: dict[str, Any], kl: float, expected: str) -> None:
    control = deepcopy(report)
    control["reconstruction"]["splicing"]["kl"] = {"value": kl, "standard_error": 0.04, "why": None}
    found = lines(report, control, {})["KL"]
    assert found.verdict == expected
    assert found.difference == pytest.approx(0.5 - kl)
    assert (found.low, found.high) == pytest.approx((0.5 - kl - 1.96 * 0.05, 0.5 - kl + 1.96 * 0.05))
    assert found.sentence.startswith(f"KL is 0.5, and {kl} of random directions: difference {0.5 - kl:+.4g} (95% ")


def test_nothing_is_better_than_itself(report: dict[str, Any]) -> None:
    found = lines(report, deepcopy(report), {})
    assert {line.verdict for line in found.values()} <= {"not told apart", "not compared"}
    assert found["cosine to the nearest feature over random directions"].why == EXACT
    for line in found.values():
        assert line.why or (line.low is not None and line.high is not None), line.figure


def test_without_a_control_what_stands_beside_is_compared(report: dict[str, Any]) -> None:
    found = lines(report)
    assert found["KL"].control == report["reconstruction"]["splicing"]["kl_mean"]["value"]
    assert (found["FVU"].control, found["FVU"].against) == (1, "the mean in place of the activations")
    for name in ("L0", "nats lost", "number of dead features", "score"):
        assert (found[name].verdict, found[name].why) == ("not compared", NO_CONTROL)
    scored = lines(report, report, {"detection": {"median": 0.6, "lift": 0.2, "difference": 0.1, "interval": [0.02, 0.18], "why": None}})
    assert (scored["median detection score"].verdict, scored["median detection score"].trained) == ("better", pytest.approx(0.8))


def test_what_is_undefined_is_not_compared(report: dict[str, Any]) -> None:
    other = deepcopy(report)
    other["reconstruction"] |= {"why": "Neurons reconstruct nothing.", "splicing": None, "error": None}
    other["concepts"]["concepts"] = []
    for one, control in ((other, report), (report, other), (other, None)):
        found = lines(one, control, {})
        assert found["KL"].verdict == "not compared"
        assert "Neurons reconstruct nothing." in found["KL"].sentence
        assert "No class of tokens" in str(found["AUROC of 16 features"].why)


@settings(max_examples=30)
@given(st.integers(0, 1000), st.integers(0, 1000))
def test_counts_are_told_apart_as_poisson_counts(own: int, other: int) -> None:
    report = json.loads(GOLDEN.read_text())["report"]
    control = deepcopy(report)
    report["activity"]["dead"]["count"], control["activity"]["dead"]["count"] = own, other
    found = lines(report, control, {})["number of dead features"]
    assert found.difference == own - other
    if own + other:
        assert found.low is not None and found.high is not None
        assert found.low <= own - other <= found.high
    if abs(own - other) <= (own + other) ** 0.5:
        assert found.verdict == "not told apart"
    if abs(own - other) > 3 * (own + other + 1) ** 0.5:
        assert found.verdict == ("better" if own < other else "worse")
