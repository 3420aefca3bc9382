"""Scores of `output` of planted directions, from patched forward passes to the judge's choices."""

from pathlib import Path

import numpy as np
import pytest

from benches.truth.steered import SteeredWorld, build, lines
from interp.collect.measure.effects import NO_EFFECT, TARGET_KL, TOLERANCE
from interp.domain.score import Score
from interp.score.scorers.output import PROMPTS

CHANCE = 1 / 3


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> SteeredWorld:
    return build(tmp_path_factory.mktemp("steered"), (6, 3, 3, 2))


@pytest.fixture(scope="module")
def scores(world: SteeredWorld) -> list[Score]:
    return world.scores()


def of_kind(world: SteeredWorld, scores: list[Score], *kinds: str) -> list[Score]:
    return [score for kind, score in zip(world.kinds, scores, strict=True) if kind in kinds]


def test_directions_that_write_the_token_of_their_label_are_found(world: SteeredWorld, scores: list[Score]) -> None:
    for score in of_kind(world, scores, "planted"):
        assert score.value is not None
        assert score.interval is not None
        assert score.null is not None
        assert score.null.lift is not None
        assert score.value > 0.9
        assert score.interval.low > CHANCE
        assert score.null.lift > 0.3
        assert score.answered == PROMPTS


def test_labels_of_another_token_are_chosen_no_oftener_than_by_chance(world: SteeredWorld, scores: list[Score]) -> None:
    others = of_kind(world, scores, "mislabelled", "elsewhere")
    for score in others:
        assert score.interval is not None
        assert score.interval.low < CHANCE
    answers = sum(score.answered for score in others)
    spread = np.sqrt(CHANCE * (1 - CHANCE) / answers)
    assert abs(np.mean([score.value for score in others]) - CHANCE) < 3.5 * spread


def test_a_direction_that_nothing_reads_has_no_score_at_any_norm(world: SteeredWorld, scores: list[Score]) -> None:
    """Adding it at 10^8 changes predictions all the same, by the rounding of the sum alone."""
    for score in of_kind(world, scores, "unread"):
        assert (score.value, score.interval, score.answered) == (None, None, 0)
        assert score.reason == NO_EFFECT


def test_no_effect_is_read_of_coarse_rounding_either(tmp_path: Path) -> None:
    """In bfloat16 activations are lost in the sum of a direction some hundred times as long."""
    coarse = build(tmp_path, (1, 0, 0, 2), dtype="bfloat16")
    assert [effect.why for effect in coarse.effects] == [None, NO_EFFECT, NO_EFFECT]


def test_every_shift_that_is_shown_is_at_one_divergence_and_no_unread_one_is_a_foil(world: SteeredWorld, scores: list[Score]) -> None:
    unread = {feature for feature, kind in enumerate(world.kinds) if kind == "unread"}
    details = [item.detail for score in scores for item in score.items if item.detail is not None]
    assert details
    for detail in details:
        assert not unread & set(detail["features"])
        assert detail["kl"] == pytest.approx([TARGET_KL] * 3, rel=TOLERANCE * 1.01)


def test_the_bench_says_the_same_of_each_kind(world: SteeredWorld) -> None:
    by_case = {line["case"]: line for line in lines(world, 2, 200)}
    assert by_case["planted"]["above_chance"] == 1
    assert by_case["planted"]["success"] > 0.9
    assert (by_case["unread"]["scored"], by_case["unread"]["success"], by_case["unread"]["above_chance"]) == (0, None, 0)
    assert {"guessing judge, 2 nulls", "guessing judge, 20 nulls", "intervals of 12 questions"} <= set(by_case)
