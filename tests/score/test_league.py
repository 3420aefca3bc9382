"""League tables: who is compared on what, and what is said where nothing can be."""

import numpy as np
import pytest

from interp.analysis.league import NO_BASELINE, Table

FAMILY, SETTINGS = "f" * 64, "s" * 64


def row(feature, explainer, value, q=0.01, baseline=None, scorer="detection"):
    return (feature, explainer, FAMILY, scorer, SETTINGS, "balanced_accuracy", value, value - 0.5, q, baseline)


def test_figures_are_of_the_features_that_all_explainers_have():
    table = Table()
    table.add([row(feature, "contexts", 0.9 if feature < 10 else 0.5, baseline=0.1 if feature < 5 else -0.1) for feature in range(20)])
    table.add([row(feature, "pattern", 0.7 + 0.01 * feature, q=0.2) for feature in range(10)])
    (found,) = table.divisions()
    first, second = found.entries
    assert [entry.explainer[0] for entry in found.entries] == ["contexts", "pattern"]
    assert (first.features, first.common, second.features) == (20, 10, 10)
    assert first.mean == pytest.approx(0.9), "of the common ten"
    assert second.interval[0] < second.mean < second.interval[1]
    assert (first.better_than_null, second.better_than_null) == (1, 0)
    assert first.better_than_pattern == 0.5
    assert (second.better_than_pattern, second.why) == (None, NO_BASELINE)
    (difference,) = found.differences
    assert (difference.first[0], difference.second[0], difference.found.pairs) == ("contexts", "pattern", 10)
    assert difference.found.difference == pytest.approx(first.mean - second.mean)
    assert difference.found.interval[0] > 0


def test_the_interval_of_a_difference_holds_the_truth_in_95_percent():
    """Features have scores of their own difficulty, which the pairing takes out."""
    draw, inside = np.random.default_rng(0), 0
    for _ in range(400):
        table, hard = Table(), draw.normal(0.7, 0.1, 30)
        table.add([row(feature, "one", hard[feature] + 0.05 + draw.normal(0, 0.05)) for feature in range(30)])
        table.add([row(feature, "two", hard[feature] + draw.normal(0, 0.05)) for feature in range(30)])
        ((found,),) = (division.differences for division in table.divisions())
        sign = 1 if found.first[0] == "one" else -1
        low, high = found.found.interval
        inside += low <= sign * 0.05 <= high
    assert 0.92 <= inside / 400 <= 0.98


def test_scorers_are_apart_and_a_feature_alone_has_no_interval():
    table = Table()
    table.add([row(1, "one", 0.9), row(1, "two", 0.8), row(1, "one", 0.4, scorer="fuzz"), row(2, "three", 0.1, scorer="fuzz")])
    detection, fuzz = sorted(table.divisions(), key=lambda one: one.scorer)
    assert [entry.interval for entry in detection.entries] == [None, None]
    assert detection.differences[0].found.interval is None
    assert detection.differences[0].found.why
    assert [entry.mean for entry in fuzz.entries] == [None, None], "no feature has both"
    assert fuzz.differences[0].found.difference is None
    assert Table().divisions() == []
