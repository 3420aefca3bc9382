"""Discrimination and intruder: forced choices, their chance level, and what they are made of."""

import json
import math
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from interp.domain.evidence import ContextKind
from interp.judge.choice import KEYS, choice_of, probability_of
from interp.llm.base import Ability, TokenChoice
from interp.score.base import Distractor
from interp.score.scorers.choice import positions
from interp.stats.agreement import bits_of
from tests.score.cat_feature import CAT, DOG, FULL, contexts_of, item_of, score
from tests.score.fake_model import FakeModel, reply

MARKED = re.compile("«([^»]*)»")
BOTH = pytest.mark.parametrize("name", ["discrimination", "intruder"])


def distractors(count=4):
    """Features that fire on other words, at windows of other documents."""
    found = []
    for number in range(count):
        contexts = contexts_of({ContextKind.UNIFORM: 12, ContextKind.WEIGHTED: 12}, seed=50 + number)
        tokens = np.where(contexts.tokens == CAT, DOG + number, contexts.tokens).astype(np.uint32)
        found.append(Distractor(200 + number, replace(contexts, tokens=tokens, documents=contexts.documents + np.uint64(1000 * (number + 1)))))
    return tuple(found)


def item(**options):
    return item_of(distractors=distractors(), **options)


def groups(asked):
    found = {}
    for name, text in asked.texts.items():
        found.setdefault(int(name.split(".")[0]), []).append(text)
    return found


def knows(asked):
    """Finds the group, or the odd text out, by what is marked."""
    word = {"cats": "cat", "dogs": "dog"}.get(asked.label, "cat")
    shares = {group: np.mean([all(word in part for part in MARKED.findall(text)) for text in texts]) for group, texts in groups(asked).items()}
    if asked.kind == "discriminate":
        return json.dumps({"group": max(shares, key=shares.get)})
    return json.dumps({"intruder": min(shares, key=shares.get)})


def test_bits_by_hand():
    assert bits_of(np.array([1.0, 0.25, 0.0]), 4) == pytest.approx([2.0, 0.0, -math.log2(4 / 3)])
    # Wolpaw's own example: 4 targets, 90% right.
    assert float(bits_of(np.array(0.9), 4)) == pytest.approx(1.3725, abs=5e-5)
    rising = bits_of(np.linspace(0, 1, 101), 5)
    assert (np.diff(rising) > 0).all()


def test_discrimination_of_one_who_knows():
    model = FakeModel(knows)
    found = score("discrimination", model, item())
    assert found.value == pytest.approx(math.log2(5))
    assert 0 < found.interval.low < found.interval.high == pytest.approx(math.log2(5))
    assert (found.answered, found.failed) == (8, 0)
    assert found.metrics["accuracy"] == 1
    assert found.metrics["chance"] == pytest.approx(0.2)
    assert found.provenance["options"] == 5
    # "dogs" is a foil's: it never finds the feature.
    assert found.null.values[0] < 0
    assert found.null.lift > 1
    assert found.null.p_value is None


def test_intruder_of_one_who_knows():
    model = FakeModel(knows)
    found = score("intruder", model, item())
    assert (found.value, found.metrics["chance"]) == (1.0, pytest.approx(0.2))
    assert found.null is None
    assert all(asked.label is None and len(asked.texts) == 5 for asked in model.asked)
    assert Counter(each.kind for each in found.items) == {"near_miss": 5, "inactive": 5}


def test_the_right_place_is_each_place_as_often():
    over_features = Counter(place for feature in range(2000) for place in positions(8, 5, feature))
    assert max(over_features.values()) - min(over_features.values()) < 0.06 * 2000 * 8 / 5
    assert all(max(Counter(positions(8, 5, feature)).values()) <= 2 for feature in range(100))


@BOTH
def test_a_guess_is_worth_nothing(name):
    guesses = [score(name, FakeModel(lambda asked: json.dumps({KEYS[asked.kind]: 1})), item(nulls=(), feature=feature)) for feature in range(20)]
    assert 0.12 < np.mean([found.metrics["accuracy"] for found in guesses]) < 0.28
    assert all(found.interval.low <= (0.2 if name == "intruder" else 0.0) for found in guesses)


@BOTH
def test_rounds_show_other_windows_and_marks_of_like_number(name):
    model = FakeModel(knows)
    found = score(name, model, item(nulls=()))
    shown = [identity for each in found.items for identity in (each.context.split() if name == "discrimination" else each.detail["windows"])]
    assert len(shown) == len(set(shown))
    for asked in model.asked:
        assert all(MARKED.search(text) for text in asked.texts.values())


def test_a_foils_window_in_which_the_feature_fires_too_is_not_shown_as_the_foils():
    own = contexts_of(FULL, 0)
    fires = own.select(np.flatnonzero(own.kinds == ContextKind.UNIFORM))
    twin = Distractor(300, fires)
    found = score("discrimination", FakeModel(knows), item_of(own, nulls=(), distractors=(twin,)))
    assert (found.value, found.answered) == (None, 0)
    assert "No other feature" in found.reason


@BOTH
def test_no_answer_is_a_failure_and_not_a_wrong_choice(name):
    def tell(asked):
        return knows(asked) if "fire" in asked.texts.get("1", asked.texts.get("1.1", "")) else json.dumps({KEYS[asked.kind]: 9})

    found = score(name, FakeModel(tell), item(nulls=()))
    assert found.failed > 0 < found.answered
    assert found.value == pytest.approx(1.0 if name == "intruder" else math.log2(5))
    assert sum(each.prediction is None and "could be read" in each.failure for each in found.items) == found.failed


@BOTH
def test_nothing_to_choose_from_is_undefined(name):
    found = score(
        name,
        FakeModel(knows),
        item_of(contexts_of({ContextKind.UNIFORM: 2}), distractors=distractors()),
        controls=("empty", "baseline", "repeat", "gold"),
    )
    assert (found.value, found.interval, found.answered) == (None, None, 0)
    assert "firing test windows" in found.reason
    none = score("discrimination", FakeModel(knows), item(own=None))
    assert "There is no explanation" in none.reason


@BOTH
def test_controls_of_choices(name):
    found = score(
        name,
        FakeModel(knows),
        item(baseline="dogs"),
        ("empty", "baseline", "repeat", "judge_swap", "gold"),
        FakeModel(knows, name="second"),
        share=0.5,
    )
    controls = {control.name: control for control in found.controls}
    assert set(controls) == {"empty", "baseline", "repeat", "judge_swap", "gold"}
    assert controls["repeat"].value == controls["judge_swap"].value == 1
    assert controls["gold"].reason
    if name == "discrimination":
        assert controls["baseline"].lift > 0
        assert set(found.provenance["calls"]) >= {"discrimination", "discrimination/null", "discrimination/empty", "discrimination/judge_swap"}
    else:
        assert controls["baseline"].value is None


def test_probabilities_of_the_right_number():
    def tell(asked):
        said = json.loads(knows(asked))["group"]
        others = [(str(number), math.log(0.1)) for number in range(1, 6) if number != said]
        choices = [TokenChoice('{"group": ', 0.0), TokenChoice(str(said), math.log(0.6), tuple(others)), TokenChoice("}", 0.0)]
        return reply("".join(choice.token for choice in choices), choices=choices)

    found = score("discrimination", FakeModel(tell, abilities=frozenset({Ability.LOGPROBS})), item(nulls=()))
    assert found.metrics["bits_given"] == pytest.approx(math.log2(0.6 * 5))
    assert all(each.detail["probability"] == pytest.approx(0.6) for each in found.items)


@pytest.mark.parametrize("text", ['{"group": 0}', '{"group": 6}', '{"group": true}', '{"group": "two"}', '{"groups": 1}', "2", '{"group": 1.5}'])
def test_what_is_no_choice_is_never_guessed(text):
    with pytest.raises(ValueError, match="it h"):
        choice_of(text, "group", 5)


def test_choices_are_read():
    assert choice_of('{"group": "3 - because it fits"}', "group", 5) == 3
    assert choice_of('{"group": "3"}', "group", 5) == choice_of('Well: {"group": 3}', "group", 5) == 3


def test_a_number_of_thousands_of_digits_is_no_option():
    choices = [TokenChoice('{"group": ', 0.0), TokenChoice("1", -0.1, (("9" * 5000, -3.0),)), TokenChoice("}", 0.0)]
    assert probability_of(choices, "group", 1, 4) == 1.0
