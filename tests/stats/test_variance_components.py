"""Variance components against a published example, and against planted ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.stats.variance_components import CrossedStudy, features_needed, items_factor_needed

# Brennan (Generalizability Theory, 2001), synthetic data set 3: ten persons by two occasions by four items.
BRENNAN = np.array(
    [
        [2, 6, 7, 5, 2, 5, 5, 5],
        [4, 5, 6, 7, 6, 7, 5, 7],
        [5, 5, 4, 6, 5, 4, 5, 5],
        [5, 9, 8, 6, 5, 7, 7, 6],
        [4, 3, 5, 6, 4, 5, 6, 4],
        [4, 4, 4, 7, 6, 4, 7, 8],
        [2, 6, 6, 5, 2, 7, 7, 5],
        [3, 4, 4, 5, 6, 6, 6, 4],
        [0, 5, 4, 5, 5, 5, 5, 3],
        [6, 8, 7, 6, 6, 8, 8, 6],
    ],
    dtype=np.float64,
)
CROSSED = np.array([(item, occasion) for occasion in range(2) for item in range(4)])


def test_published_components_of_persons_by_items_by_occasions():
    study = CrossedStudy(BRENNAN, CROSSED, ("item", "occasion"))
    found = {one.name: one.estimate for one in [*study.components(), *study.condition_components()]}
    published = {"feature": 0.5528, "feature x item": 0.5750, "feature x occasion": 0.1009, "residual": 0.9352}
    published |= {"item": 0.4417, "occasion": 0.0074, "condition": 0.1565}
    assert found == {name: pytest.approx(value, abs=5e-5) for name, value in published.items()}


def test_published_coefficient_of_the_same_study():
    """0.64 over four items and two occasions (Brennan 2001, ch. 4)."""
    study = CrossedStudy(BRENNAN, CROSSED, ("item", "occasion"))
    assert study.reliability(study.error_weights({"item": 4, "occasion": 2})).value == pytest.approx(0.64, abs=0.005)


def planted(features: int, seed: int, parts: tuple[float, float, float, float] = (0.01, 0.002, 0.004, 0.005)) -> tuple[np.ndarray, np.ndarray]:
    """Scores of features by three judges and four seeds: variances of feature, feature x judge, feature x seed, residual."""
    random, levels = np.random.default_rng(seed), np.array([(judge, draw) for judge in range(3) for draw in range(4)])
    of, judge, draw, rest = (part**0.5 for part in parts)
    scores = 0.7 + of * random.standard_normal((features, 1)) + rest * random.standard_normal((features, 12))
    scores += judge * random.standard_normal((features, 3))[:, levels[:, 0]] + draw * random.standard_normal((features, 4))[:, levels[:, 1]]
    return scores + 0.05 * random.standard_normal(12), levels


def test_planted_components_lie_in_their_intervals():
    study = CrossedStudy(*planted(2000, 1), ("judge", "seed"))
    for component, truth in zip(study.components(), (0.01, 0.002, 0.004, 0.005), strict=True):
        assert component.low is not None and component.high is not None
        assert component.low < truth < component.high
        assert component.estimate == pytest.approx(truth, rel=0.15)
    reliability = study.reliability(study.error_weights({}))
    assert reliability.low is not None and reliability.high is not None
    assert reliability.low < 0.01 / 0.021 < reliability.high


def test_conditions_need_not_be_crossed_completely():
    scores, levels = planted(4000, 2)
    kept = [0, 1, 4, 6, 9, 11]
    found = CrossedStudy(scores[:, kept], levels[kept], ("judge", "seed")).raw
    assert list(found.values()) == pytest.approx([0.01, 0.002, 0.004, 0.005], rel=0.2)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.1, 10), st.integers(20, 60))
def test_components_follow_the_unit_and_not_the_level_of_scores(seed, factor, features):
    scores, levels = planted(features, seed)
    shifts = np.random.default_rng(seed).normal(size=12)
    before, after = (CrossedStudy(table, levels, ("judge", "seed")) for table in (scores, factor * scores + shifts))
    for one, other in zip(before.components(), after.components(), strict=True):
        assert other.estimate == pytest.approx(factor**2 * one.estimate, rel=1e-6, abs=1e-9)
        assert 0 <= one.low <= one.estimate <= one.high
    one, other = (study.reliability(study.error_weights({})) for study in (before, after))
    assert (other.value, other.low, other.high) == pytest.approx((one.value, one.low, one.high), abs=1e-6)
    assert 0 <= one.low <= one.value <= one.high <= 1


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_order_of_features_and_conditions_is_nothing(seed):
    scores, levels = planted(30, seed)
    rows, columns = (np.random.default_rng(seed).permutation(count) for count in scores.shape)
    before = CrossedStudy(scores, levels, ("judge", "seed")).raw
    after = CrossedStudy(scores[rows][:, columns], levels[columns], ("judge", "seed")).raw
    assert list(after.values()) == pytest.approx(list(before.values()), abs=1e-12)


def test_a_negative_estimate_is_truncated_and_says_so():
    """Two features whose order turns around between seeds: what they share is less than nothing."""
    study = CrossedStudy(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[0], [1]]), ("seed",))
    feature, rest = study.components()
    assert (feature.estimate, feature.truncated, rest.truncated) == (0.0, True, False)
    assert study.raw["feature"] < 0
    assert study.reliability(study.error_weights({})).value == 0


def test_few_features_have_no_interval():
    study = CrossedStudy(BRENNAN, CROSSED, ("item", "occasion"))
    assert all(one.low is None for one in [*study.components(), *study.condition_components()])
    assert study.reliability(study.error_weights({})).low is None


def test_a_factor_that_cannot_be_told_apart_is_left_out_with_the_reason():
    scores, levels = planted(30, 3)
    levels = np.column_stack([levels, levels[:, 0], np.zeros(12, dtype=int), np.arange(12)])
    study = CrossedStudy(scores, levels, ("judge", "seed", "model", "half", "job"))
    assert study.factors == ("judge", "seed")
    assert study.left_out["half"] == "it has one level"
    assert "coincide" in study.left_out["model"] and "coincide" in study.left_out["job"]
    with pytest.raises(ValueError, match="the factors are judge, seed"):
        study.error_weights({"job": 2})


@pytest.mark.parametrize(
    ("scores", "levels", "cure"),
    [
        (np.ones((5, 1)), np.zeros((1, 1)), "another seed or judge"),
        (np.ones((1, 5)), np.zeros((5, 1)), "another seed or judge"),
        (np.array([[1.0, np.nan], [0.0, 1.0]]), np.array([[0], [1]]), "leave out features"),
        (np.ones((5, 2)), np.zeros((3, 1)), "a row for each condition"),
    ],
)
def test_what_tells_nothing_is_refused(scores, levels, cure):
    with pytest.raises(ValueError, match=cure):
        CrossedStudy(scores, levels.astype(int), ("seed",))


def test_scores_that_do_not_differ_have_no_variance():
    study = CrossedStudy(np.full((30, 4), 0.5), np.arange(4)[:, None], ("seed",))
    assert [(one.estimate, one.low, one.high) for one in study.components()] == [(0, 0, 0)] * 2
    assert study.reliability(study.error_weights({})).value == 0


def test_features_needed_as_in_published_tables_of_the_t_test():
    """For d = 0.5: 64 in each of two groups (Cohen, Statistical Power Analysis, 1988), and 34 pairs, as the noncentral t gives."""
    assert features_needed(1.0, 0.5, paired=False) == 64
    assert features_needed(1.0, 0.5, paired=True) == 34
    with pytest.raises(ValueError, match="above 0"):
        features_needed(1.0, 0.0, paired=True)


def test_more_items_help_until_features_themselves_differ_too_much():
    fixed, noise = 0.002, 0.01
    needed = features_needed(fixed + noise / 4, 0.01, paired=True)
    factor = items_factor_needed(fixed, noise, 0.01, needed, paired=True)
    assert factor == pytest.approx(4, rel=0.01)
    assert items_factor_needed(0.02, noise, 0.01, needed // 4, paired=True) is None
