"""Output: which shift of predictions belongs to the label, and what is said where there is none."""

import asyncio
import json
from dataclasses import replace

import pytest

from interp.domain.spec import ScorerSpec
from interp.llm.prompt_text import escaped
from interp.score import registry
from interp.score.base import FeatureEffect, ScoreContext
from tests.score.cat_feature import VOCABULARY, item_of
from tests.score.fake_model import FakeModel

WORDS = {0: " cat", 50: " dog", 51: " man", 52: " home"}


def effect(feature, why=None, word=None):
    shifts = tuple(((word or WORDS[feature], f" {prompt}\n"), (" the",)) for prompt in range(12))
    return FeatureEffect(feature, None if why else 2.0, None if why else 0.5, () if why else shifts, why)


def knows(asked):
    """Takes the shift that makes the label's word likelier."""
    word = {"cats": " cat", "dogs": " dog", "men": " man"}[asked.label]
    found = [int(name[0]) for name, text in asked.texts.items() if name.endswith(".1") and word in text]
    return json.dumps({"shift": found[0] if found else 1})


def score(tell, effects, own="cats"):
    item = replace(item_of(own=own, nulls=("dogs", "men")), effects=tuple(effects))
    model = FakeModel(tell)
    return asyncio.run(registry.judged(ScorerSpec(name="output")).score(item, ScoreContext(VOCABULARY, 0, model))), model


def test_a_judge_who_knows_finds_the_shift_and_others_labels_do_not():
    found, model = score(knows, map(effect, WORDS))
    assert (found.value, found.answered, found.provenance["options"]) == (1.0, 12, 3)
    assert found.provenance["chance"] == pytest.approx(1 / 3)
    assert found.interval.low > 1 / 3
    assert found.null.lift > 0.3
    assert all(set(item.detail["features"]) > {0} and item.detail["kl"] == [0.5] * 3 for item in found.items)
    assert {item.truth for item in found.items} == {1.0, 2.0, 3.0}, "the right answer has no place of its own"
    assert all(escaped("\n") in text for name, text in model.asked[0].texts.items() if name.endswith(".1"))


def test_one_answer_for_all_is_chance():
    found, _ = score(lambda asked: json.dumps({"shift": 2}), map(effect, WORDS))
    assert found.value == pytest.approx(1 / 3)
    assert found.interval.low < 1 / 3 < found.interval.high


@pytest.mark.parametrize(
    ("effects", "why"),
    [
        ([], "was not measured"),
        ([effect(0, "Nothing moves.")], "Nothing moves."),
        ([effect(0), effect(50), effect(51, "Nothing moves.")], "Fewer than 2 other features"),
    ],
)
def test_without_a_shift_or_foils_nothing_is_asked(effects, why):
    found, model = score(knows, effects)
    assert found.value is None
    assert why in found.reason
    assert model.asked == []
