"""Selection: how calls are made up, what a reply may be, and what the answers are worth."""

import json

import numpy as np
import pytest

from interp.domain.evidence import ContextKind
from interp.judge.selection import listed
from interp.score.items.test_set import TestSet
from interp.score.scorers.selection import calls_of
from tests.score.cat_feature import contexts_of, item_of, score
from tests.score.fake_model import FakeModel, reply

ENOUGH = {ContextKind.TOP: 10, ContextKind.UNIFORM: 5, ContextKind.WEIGHTED: 20, ContextKind.INACTIVE: 40, ContextKind.NEAR_MISS: 10}
WORDS = {"cats": "cat", "dogs": "dog", "men": "man", "homes": "home"}


def finds(asked):
    word = WORDS.get(asked.label or "", "nothing")
    return json.dumps({"fires": [int(name) for name, text in asked.texts.items() if word in text]})


def none(asked):
    return '{"fires": []}'


def test_each_call_has_two_top_two_weighted_and_ten_silent_windows_and_no_window_twice():
    questions = TestSet.of(contexts_of(ENOUGH))
    rounds = calls_of(questions, None, 0)
    assert len(rounds) == 4
    for rows in rounds:
        assert len(rows) == 14
        assert questions.groups["top"][rows].sum() == 2
        assert questions.groups["weighted"][rows].sum() == 2
        assert questions.groups["inactive"][rows].sum() == 10
    every = np.concatenate(rounds)
    assert len(np.unique(every)) == len(every)
    assert not questions.groups["near_miss"][every].any()


def test_windows_kept_as_top_and_weighted_ones_count_as_either_but_once():
    contexts = contexts_of({ContextKind.TOP: 4, ContextKind.INACTIVE: 20})
    both = contexts.select(np.concatenate([np.arange(4), np.arange(4), np.arange(4, 24)]))
    both.kinds[4:8] = ContextKind.WEIGHTED
    assert [len(rows) for rows in calls_of(TestSet.of(both), None, 0)] == [14]
    assert calls_of(TestSet.of(contexts), None, 0) == []


def test_firing_windows_stand_anywhere_in_a_call():
    questions = TestSet.of(contexts_of(ENOUGH))
    places = {int(place) for seed in range(40) for rows in calls_of(questions, None, seed) for place in np.flatnonzero(questions.positive[rows])}
    assert places == set(range(14))


@pytest.mark.parametrize(
    "text, why",
    [
        ('{"fires": [15]}', "lists 15"),
        ('{"fires": [0]}', "lists 0"),
        ('{"fires": ["one"]}', "lists"),
        ('{"fires": [true]}', "lists true"),
        ('{"fires": 3}', "no list"),
        ("{}", "no list"),
        ("3, 5", "no JSON"),
    ],
)
def test_what_is_no_answer_says_what_is_wrong(text, why):
    with pytest.raises(ValueError, match=why):
        listed(text, 14)


def test_a_good_explanation_is_right_everywhere():
    model = FakeModel(finds)
    found = score("selection", model, item_of(contexts_of(ENOUGH)))
    assert (found.metric, found.value, found.answered, found.failed) == ("balanced_accuracy", 1.0, 56, 0)
    assert found.metrics["accuracy"] == 1.0
    assert found.interval.low < 1.0 == found.interval.high
    assert found.null.values == pytest.approx((0.5, 0.5), abs=0.1) and found.null.p_value is None
    assert found.null.lift == pytest.approx(1 - np.mean(found.null.values))
    assert found.provenance["template"] == "select@3"
    assert {purpose: len(keys) for purpose, keys in found.provenance["calls"].items()} == {"selection": 4, "selection/null": 8}
    assert sum(item.truth for item in found.items) == 16


def test_an_empty_list_gets_what_saebench_gives_it():
    found = score("selection", FakeModel(none), item_of(contexts_of(ENOUGH), nulls=()))
    assert found.metrics["accuracy"] == found.metrics["accuracy_of_none"] == pytest.approx(0.714, abs=5e-4)
    assert found.value == 0.5


def test_a_call_without_an_answer_fails_its_windows_and_is_no_empty_list():
    """As an empty list it would be right about ten of 14."""
    refused = []

    def tell(asked):
        texts = tuple(asked.texts.values())
        refused[:] = refused or [texts]
        return reply("", finish="refusal") if texts == refused[0] else finds(asked)

    found = score("selection", FakeModel(tell), item_of(contexts_of(ENOUGH), nulls=()))
    assert (found.value, found.answered, found.failed) == (1.0, 42, 14)
    assert sum(item.prediction is None for item in found.items) == 14
    assert all("refused" in item.failure for item in found.items if item.prediction is None)


def test_too_few_windows_for_one_call_is_undefined_with_the_reason():
    model = FakeModel(finds)
    found = score("selection", model, item_of(contexts_of({ContextKind.TOP: 5, ContextKind.WEIGHTED: 5, ContextKind.INACTIVE: 9})))
    assert (found.value, found.answered, found.failed, found.null.value) == (None, 0, 0, None)
    assert "10 silent" in found.reason
    assert not model.asked


def test_options_limit_the_calls():
    model = FakeModel(finds)
    score("selection", model, item_of(contexts_of(ENOUGH), nulls=()), positives=8)
    assert len(model.asked) == 2


def test_recall_at_the_true_rate_weighs_strong_windows_down():
    """Of two weighted windows, one twice as strong as the other, the weaker stands for twice as many: found alone it is a recall of 2/3."""
    contexts = contexts_of({ContextKind.TOP: 2, ContextKind.WEIGHTED: 2, ContextKind.INACTIVE: 10})
    for row, (strength, token) in enumerate([(10, 1), (10, 1), (8, 2), (4, 1)]):
        contexts.tokens[row], contexts.activations[row] = 3, 0
        contexts.tokens[row, 0], contexts.activations[row, 0] = token, strength
    found = score("selection", FakeModel(finds), item_of(contexts, nulls=()))
    assert found.metrics["recall"] == 0.75
    assert found.metrics["precision_at_rate"] == 1.0
    assert found.metrics["f1_at_rate"] == pytest.approx(2 * (2 / 3) / (1 + 2 / 3))


def test_controls():
    second = FakeModel(none, name="second")
    model = FakeModel(finds)
    item = item_of(contexts_of(ENOUGH), nulls=(), baseline="men")
    found = score("selection", model, item, controls=("empty", "baseline", "repeat", "judge_swap", "gold"), second=second, share=0.5)
    controls = {control.name: control for control in found.controls}
    assert controls["empty"].value == 0.5 and controls["empty"].lift == 0.5
    assert controls["baseline"].lift == pytest.approx(0.5, abs=0.1) and controls["baseline"].lift_interval.low > 0
    assert controls["repeat"].value == 1.0 and controls["repeat"].details["asked"] == 28
    assert controls["judge_swap"].value == 0.0
    assert controls["gold"].reason
    assert {asked.prompt.sample for asked in model.asked if asked.purpose == "test/repeat"} == {1}
    assert len(second.asked) == 2
    asked_for = score("selection", model, item, controls=("judge_swap",))
    assert "second judge" in asked_for.controls[0].reason


def test_the_typical_reply_can_be_read():
    assert score("selection", FakeModel(lambda asked: asked.prompt.typical), item_of(contexts_of(ENOUGH), nulls=())).failed == 0
