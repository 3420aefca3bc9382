"""What `python -m benches.truth` measures, with fewer runs and wider bounds. docs/truth.md has the figures of the whole thing."""

import numpy as np

from benches.truth import borrowed, pipeline, planted


def test_the_whole_way_over_a_socket_gives_what_the_judges_know(world):
    """With faults in three of ten answers: nothing is lost, and every figure is the one that the same judge gives in process."""
    explained, *scored = pipeline.over_http(world, every=6)
    assert explained["explained"] == explained["label_is_the_planted_one"] == 1
    by_judge = {line["judge"]: line for line in scored}
    assert by_judge["oracle"]["balanced_accuracy"] == 1
    assert abs(by_judge["noisy"]["balanced_accuracy"] - 0.9) < 0.06
    assert by_judge["yes"]["balanced_accuracy"] == 0.5
    assert abs(by_judge["coin"]["balanced_accuracy"] - 0.5) < 0.12
    assert all(line["same_as_in_process"] == 1 and line["failed"] == 0 for line in scored)


def test_intervals_cover_the_figure_on_the_whole_corpus(world):
    covered, estimates = planted.coverage(world, 2)
    assert covered["runs"] > 250
    assert 0.915 <= covered["interval_coverage"] <= 0.985
    assert estimates["shrunken_error"] < estimates["raw_error"]
    assert abs(estimates["reliability"] - estimates["true_reliability"]) < 0.25


def test_swapped_explanations_are_seldom_significant(world):
    for line in planted.swaps_executable(world, 6):
        assert line["null_false_positive_rate"] <= 0.08
        assert line["q_at_most_0.05"] <= 0.01
    raw, paired, mixed = planted.swaps_judged(world, 6)
    assert 0.03 <= raw["null_false_positive_rate"] <= 0.07
    assert paired["null_false_positive_rate"] <= 0.07
    assert mixed["false_discovery_rate"] <= 0.05
    assert mixed["right_labels_found"] > 0.9


def test_a_judge_of_known_rates_is_corrected(world):
    for line in planted.correction(world, 2, judges=((0.8, 0.2),), every=2):
        assert line["rogan_gladen_coverage"] >= 0.88
        assert line["coverage_true_figure_1"] >= 0.88
        assert line["raw_of_true_1"] < 0.85
        assert line["corrected_of_true_1"] > 0.92


def test_judges_who_know_nothing_give_nothing(world):
    for line in planted.constants(world):
        assert abs(line["balanced_accuracy"] - 0.5) < 0.03
        assert abs(line["lift"]) < 0.05
        assert line["p_at_most_0.05"] <= 0.1


def test_nothing_that_is_explained_from_is_asked_about(world):
    line = planted.leaks(world)
    assert line["documents_in_both"] == line["windows_in_both"] == 0
    assert line["contexts"] > 10_000
    assert not np.intersect1d(world.documents[world.splits == 0], world.documents[world.splits == 1]).size


def test_twins_are_no_nulls():
    line = borrowed.twins(200)
    assert line["twin_null_share"] == 0
    assert line["without_a_bound"] > 0.15


def test_open_answers_buy_no_lift(world):
    line = borrowed.abstention(world, 4)
    assert abs(line["abstention_lift"]) <= max(2 * line["noise"], 0.02)
    assert line["on_what_each_answered"] > 0.15, "compared with what each answered, it would be a large lift"


def test_a_p_value_of_its_own_calls_few_swaps_and_finds_right_labels(world):
    for line in borrowed.paired(world, 2):
        assert line["paired_false_positive_rate"] <= 0.06
        assert line["lifts_without_interval_or_reason"] == 0
        assert line["right_ones_at_most_0.05"] > 0.9
