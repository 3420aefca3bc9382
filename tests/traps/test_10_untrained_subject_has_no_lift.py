"""Trap 10: labels of an untrained model score like those of a trained one. What a trained subject's labels reach on a random one is the control."""

import pytest
import torch

from benches.truth import demo


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("demo")
    trained, random = (demo.demo(folder, 40, 60_000, weights) for weights in ("trained", "random"))
    return {line["case"]: line for line in demo.untrained(trained, random)}


def test_labels_of_the_trained_subject_have_no_lift_on_a_random_one(lines):
    own = lines["trained subject, its own labels"]
    control = lines["random subject, the trained one's labels"]
    assert own["lift_low"] > 0.1
    assert control["runs"] >= 8
    assert control["lift_high"] < own["lift_low"]
    assert abs(control["lift"]) < 0.08


def test_a_random_subject_explained_afresh_does_score(lines):
    """As published (arXiv 2501.17727): its features are still functions of the text. So a high score alone says nothing of what was learned, and the
    control must be the trained subject's label on the random subject, never a fresh one."""
    afresh = lines["random subject, explained afresh"]
    assert afresh["lift_low"] > 0.1
