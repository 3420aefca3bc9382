"""Trap 5: balanced accuracy hardly sees a label that is twice too broad. Hard negatives and precision at the true firing rate do."""

import numpy as np

from benches.truth import planted
from interp.stats.agreement import precision_at_rate
from tests.truth.fixtures import world

__all__ = ["world"]


def test_by_hand():
    """A feature in 2% of windows, a label in 4%: balanced accuracy .99, precision one half."""
    alarms = 0.02 / 0.98
    assert (1 + (1 - alarms)) / 2 > 0.98
    assert precision_at_rate(1.0, alarms, 0.02) == 0.5


def test_broad_and_narrow_labels_are_flagged_and_right_ones_are_not(world):
    """A token's label with another token of the same frequency added; a union's label with one of its two tokens left out."""
    found = {line["label"]: line for line in planted.breadth(world)}
    right, broad, narrow = (found[name] for name in ("right", "twice too broad", "half too narrow"))
    assert right["flagged_broad"] == right["flagged_narrow"] == 0
    assert broad["flagged_broad"] == 1
    assert broad["specificity_near_miss"] < 0.1
    assert broad["precision_at_rate"] < 0.8
    assert narrow["flagged_narrow"] == 1
    assert 0.35 < narrow["recall"] < 0.65
    assert narrow["precision_at_rate"] == 1


def test_without_hard_negatives_balanced_accuracy_is_nearly_blind(world):
    """On the whole test corpus, where inactive windows outnumber near misses, the broad labels keep nearly all of their balanced accuracy."""
    tokens = planted.of_kind(world, "token")
    figures = []
    for feature in tokens:
        label = planted.broad_of(world, feature)
        recall, specificity = planted.rates(planted.oracle(world, label), world, feature, label)
        rate = world.evidence[feature].statistics.window_density(1)
        figures.append(((recall + specificity) / 2, precision_at_rate(recall, 1 - specificity, rate)))
    balanced, precision = np.array(figures).T
    assert balanced.mean() > 0.95
    assert 0.4 < precision.mean() < 0.65
