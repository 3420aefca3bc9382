"""The bench of variance components, with fewer runs and wider bounds."""

import pytest

from benches.truth import stability


def test_planted_components_are_recovered_and_covered(monkeypatch):
    monkeypatch.setattr(stability, "FEATURES", (50,))
    monkeypatch.setattr(stability, "TAILS", {"normal": stability.TAILS["normal"]})
    (line,) = stability.coverage(120)
    assert 0.92 <= line["interval_coverage"] <= 0.98
    assert line["reliability_coverage"] >= 0.9
    assert line["estimate_over_truth_least"] == pytest.approx(1, abs=0.2)
    assert line["estimate_over_truth_most"] == pytest.approx(1, abs=0.2)
