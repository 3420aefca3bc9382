"""Labels of planted features that are right, too narrow, too broad or wrong are each told by detection and generation together."""

import numpy as np

from benches.truth.world import World
from benches.truth.written import calibration, widths


def test_each_kind_of_label_is_named_by_the_pair(world: World) -> None:
    lines = {line["label"]: line for line in widths(world)}
    for kind, line in lines.items():
        assert line["named"] >= 0.9, (kind, line)
    assert lines["broad"]["recall"] > 0.9, "detection's recall cannot tell a broad label from a right one"
    assert np.isclose(lines["narrow"]["sensitivity"], lines["right"]["sensitivity"], atol=0.1), "nor generation a narrow one"
    assert lines["right"]["better_than_null"] > 0.9
    assert lines["wrong"]["better_than_null"] < 0.15


def test_swapped_labels_are_seldom_better_than_their_nulls_and_intervals_hold_the_true_sensitivity(world: World) -> None:
    null, intervals, grid = calibration(world, 6)
    assert null["null_false_positive_rate"] <= 0.06
    assert 0.01 <= null["with_ties_by_lot"] <= 0.09
    assert 0.93 <= intervals["interval_coverage"] <= 0.98
    assert intervals["worst"] > 0.9
    assert grid["bench"] == "generation"
