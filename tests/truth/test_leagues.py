"""Leagues of explainers whose true difference is known."""

import numpy as np

from benches.truth import leagues
from benches.truth.world import World


def test_intervals_of_differences_hold_the_truth_and_seldom_have_the_wrong_sign() -> None:
    lines = list(leagues.lines(60))
    assert len(lines) == len(leagues.DICTIONARIES) * len(leagues.FEATURES)
    assert 0.93 <= np.mean([line["interval_coverage"] for line in lines]) <= 0.97
    assert 0.02 <= np.mean([line["null_false_positive_rate"] for line in lines]) <= 0.08
    for line in lines:
        assert line["interval_coverage"] >= 0.9
        assert max(line["sign_errors_0.02"], line["sign_errors_0.05"]) <= 0.05
    assert next(line for line in lines if line["case"] == "alike, 100 features")["found_0.05"] > 0.9


def test_of_planted_features_the_better_explainer_is_not_called_the_worse_one(world: World) -> None:
    for line in leagues.on_planted(world, 1, 150):
        assert 0.88 <= line["interval_coverage"] <= 0.99
        assert line["null_false_positive_rate"] <= 0.12
        assert line["sign_errors"] <= 0.03
        assert line["difference"] > 0
