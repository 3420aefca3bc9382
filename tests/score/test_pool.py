"""A label that fires where its feature does not shows by how often it fires at all, however rare the feature is."""

import numpy as np
import pytest

from benches.truth.broad import caught, judged
from interp.domain.evidence import ContextKind, Split
from interp.domain.spec import ScorerSpec, SplitCounts
from interp.score import registry
from interp.score.base import ScorerInput
from interp.score.items.pool import label_figures, pool_of
from tests.explain.planted import evidence, text, where
from tests.score.test_executable_scorers import _explanation, _rule


def test_the_precision_of_a_label_is_what_the_feature_explains_of_its_rate():
    """It fires in 40 of 1,000 windows, the feature in 2% of all, of which the label finds all: half of what it says is right."""
    found = label_figures(np.arange(1000) < 40, np.arange(1000).astype(np.uint64), 0.02, 1.0, 0.95)
    assert (found["label_rate"], found["precision_of_label"]) == (pytest.approx(0.04), pytest.approx(0.5))
    assert found["label_rate_low"] < 0.04 < found["label_rate_high"]
    assert 0.5 < found["precision_of_label_high"] < 1


def test_what_is_not_known_is_undefined_and_no_more_than_certain():
    none = label_figures(np.zeros(0, bool), np.zeros(0, np.uint64), 0.02, 1.0, 0.95)
    assert set(none.values()) == {None}
    assert label_figures(np.ones(9, bool), np.zeros(9, np.uint64), 0.02, None, 0.95)["precision_of_label"] is None
    assert label_figures(np.zeros(9, bool), np.arange(9).astype(np.uint64), 0.02, 1.0, 0.95)["precision_of_label"] == 1
    assert label_figures(np.zeros(9, bool), np.arange(9).astype(np.uint64), 0.02, 0.0, 0.95)["precision_of_label"] is None


def test_the_pool_is_of_test_windows_each_once():
    counts = SplitCounts(top=0, uniform=10, weighted=5, inactive=20, near_miss=0)
    items = [evidence(where(lambda t, w=word: t.strip() == w), number, test=counts) for number, word in enumerate(("yield", "lambda", "yield"))]
    pool = pool_of(items)
    assert len(set(pool.identities())) == len(pool) > 10
    assert set(pool.splits.tolist()) == {Split.TEST}
    assert set(pool.kinds.tolist()) == {ContextKind.INACTIVE}
    assert pool_of([]) is None


def test_detection_says_how_often_its_rule_fires():
    counts = SplitCounts(top=0, uniform=20, weighted=10, inactive=200, near_miss=0)
    own = evidence(where(lambda t: t.strip() == "yield"), 0, test=counts)
    pool = pool_of([own, evidence(where(lambda t: t.strip() == "lambda"), 1, test=counts)])
    scorer = registry.get(ScorerSpec(name="detection"))
    right, broad = (
        scorer.score([ScorerInput.of(own, _explanation(0, _rule(*words)), [], pool=pool)], text().vocabulary, 0)[0]
        for words in (("yield",), ("yield", "self"))
    )
    assert right.provenance["pool"] == len(pool)
    assert broad.metrics["label_rate"] > right.metrics["label_rate"]
    assert broad.metrics["precision_of_label_high"] < 1
    assert scorer.score([ScorerInput.of(own, _explanation(0, _rule("yield")), [])], text().vocabulary, 0)[0].metrics.get("label_rate") is None


def test_a_label_twice_too_broad_is_caught_at_one_window_in_a_thousand():
    lines = {line["rate"]: line for line in caught(200)}
    assert all(line["broad_caught_rate"] >= 0.8 for line in lines.values())
    assert all(line["right_flagged_rate"] <= 0.06 for line in lines.values())
    for rate, name in ((0.1, "100"), (0.01, "010"), (0.001, "001")):
        assert lines[rate][f"broad_caught_rate_{name}"] == lines[rate]["broad_caught_rate"], "each rate has a key of its own"


def test_verdicts_of_a_model_catch_what_a_neighbour_means_and_nothing_else():
    """Near misses hold what the neighbours mean: a label that takes in something else is called too broad no more often than a right one."""
    for line in judged(4000):
        assert line["broad_caught_judged_001_covering_1.00"] >= 0.99
        assert line["broad_caught_judged_001_covering_0.33"] >= 0.5
        assert abs(line["broad_caught_judged_001_covering_0.00"] - line["right_flagged_rate"]) < 0.03
