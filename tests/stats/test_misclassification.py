"""A noisy judge of known rates is corrected to the true figure."""

import numpy as np
import pytest

from interp.stats.misclassification import ErrorRate, corrected_balanced_accuracy

RUNS = 2000


def _exact(value):
    return ErrorRate(value, value, value)


def test_by_hand():
    """Sensitivity .9, specificity .8: a recall of .8 is seen as .76, false alarms of .1 as .27, and both give back .85."""
    found = corrected_balanced_accuracy(_exact(0.76), _exact(0.27), _exact(0.9), _exact(0.8))
    assert found.value == pytest.approx(0.85)
    assert found.bounds == pytest.approx((0.85, 0.85))


def test_with_known_rates_the_interval_is_the_observed_one_stretched():
    """False alarms are known, and J is .7: of a recall of .76 the ends .69 and .9 lie .1 and .2 from it in the corrected one."""
    found = corrected_balanced_accuracy(ErrorRate(0.76, 0.69, 0.9), _exact(0.27), _exact(0.9), _exact(0.8))
    assert found.bounds == pytest.approx((0.8, 0.95))


def test_a_perfect_judge_changes_nothing():
    found = corrected_balanced_accuracy(ErrorRate(0.8, 0.7, 0.9), ErrorRate(0.1, 0.05, 0.2), _exact(1.0), _exact(1.0))
    assert found.value == pytest.approx(0.85)
    assert found.bounds == pytest.approx((0.85 - np.hypot(0.1, 0.1) / 2, 0.85 + np.hypot(0.1, 0.05) / 2))


def test_a_judge_no_better_than_chance_cannot_be_corrected():
    for rates in ((0.6, 0.4), (0.0, 0.9)):
        found = corrected_balanced_accuracy(_exact(0.5), _exact(0.5), *map(_exact, rates))
        assert found.value is None
        assert found.bounds is None
        assert "no better than chance" in found.reason


def test_a_judge_not_shown_to_beat_chance_rules_nothing_out():
    unsure = ErrorRate(0.55, 0.3, 0.8)
    assert corrected_balanced_accuracy(ErrorRate(0.55, 0.5, 0.6), ErrorRate(0.45, 0.4, 0.5), unsure, unsure).bounds == (0, 1)


def test_what_lies_outside_is_cut():
    known = ErrorRate(0.9, 0.85, 0.95)
    found = corrected_balanced_accuracy(ErrorRate(0.95, 0.9, 0.99), ErrorRate(0.02, 0.0, 0.1), known, known)
    assert found.value == found.bounds[1] == 1


@pytest.mark.parametrize(
    ("recall", "alarm", "sensitivity", "specificity"),
    [(0.9, 0.1, 0.9, 0.9), (0.9, 0.1, 0.8, 0.7), (0.6, 0.3, 0.85, 0.9), (0.5, 0.5, 0.8, 0.8), (0.3, 0.02, 0.95, 0.8), (1.0, 0.0, 0.8, 0.8)],
)
def test_the_true_figure_is_covered(recall, alarm, sensitivity, specificity):
    """40 firing and 50 silent items, 60 known answers of each kind. At a true 1 the interval cannot miss on one side, and covers more."""
    random, kept = np.random.default_rng(0), []

    def seen(rate, count):
        return ErrorRate.of(random.random(count) < rate)

    for _ in range(RUNS):
        known = seen(sensitivity, 60), seen(specificity, 60)
        observed = [seen(rate * sensitivity + (1 - rate) * (1 - specificity), count) for rate, count in ((recall, 40), (alarm, 50))]
        low, high = corrected_balanced_accuracy(*observed, *known).bounds
        kept.append(low <= (1 + recall - alarm) / 2 <= high)
    assert 0.93 <= np.mean(kept) <= (0.99 if recall == 1 else 0.975)


def test_a_rate_of_nothing_is_refused():
    with pytest.raises(ValueError, match="proportion of nothing"):
        ErrorRate.of(np.zeros(0, bool))
