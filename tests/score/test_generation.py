"""Generation: texts that a label asks for, what the feature does on them, and what is made of it."""

import asyncio
import json
from dataclasses import replace

import pytest

from interp.domain.errors import ReplyInvalidError
from interp.domain.spec import ScorerSpec
from interp.judge.writing import LONGEST, texts_of
from interp.score import registry
from interp.score.base import ProbedTexts, ScoreContext
from tests.score.cat_feature import VOCABULARY, item_of, score
from tests.score.fake_model import FakeModel

NULLS = tuple(range(100, 120))


def readings(fires, near):
    return tuple({"kind": kind, "tokens": ["a"], "activations": [one]} for kind, found in (("fires", fires), ("near", near)) for one in found)


def probed(fires, near, others=0.0, level=2.0, baseline=()):
    found = dict.fromkeys(NULLS, (others,) * 10)
    return ProbedTexts(level, 0.5, tuple(fires), tuple(near), found, tuple(baseline), readings(fires, near), None, ("key",))


def item(given, **options):
    return replace(item_of(nulls=[f"label {number}" for number in NULLS], **options), probed=given)


def silent(asked):
    raise AssertionError("scoring asks nothing")


def test_the_share_of_texts_at_the_median_level_beside_those_of_other_labels():
    found = score("generation", FakeModel(silent), item(probed([3.0] * 8 + [1.0, 0.0], [0.0] * 9 + [2.5])))
    assert found.value == 0.8
    assert found.interval.low < 0.8 < found.interval.high
    assert (found.answered, found.failed) == (10, 0)
    assert found.metrics["firing"] == 0.9, "one fires below the median"
    assert found.metrics["near_firing"] == found.metrics["near_reached"] == 0.1
    assert 0.5 < found.metrics["auc_low"] < found.metrics["auc"] < found.metrics["auc_high"]
    assert found.metrics["auc_others"] == pytest.approx(0.95)
    assert found.null.lift == 0.8
    assert found.null.p_value < 1 / 21
    assert found.null.p_paired < 0.05
    assert [(one.kind, one.truth, one.prediction) for one in found.items[7:11]] == [
        ("fires", 1.0, 1.0),
        ("fires", 1.0, 0.0),
        ("fires", 1.0, 0.0),
        ("near", 0.0, 0.0),
    ]
    assert found.provenance["calls"] == {"generation": ["key"]}


def test_a_label_whose_texts_do_as_well_as_any_others_has_no_lift():
    found = score("generation", FakeModel(silent), item(probed([3.0] * 10, [3.0] * 10, others=3.0)))
    assert found.value == 1
    assert found.null.lift == 0
    assert found.null.p_value == 1
    assert found.metrics["auc"] == found.metrics["auc_others"] == 0.5


def test_texts_that_are_missing_are_failed_and_no_silence():
    found = score("generation", FakeModel(silent), item(probed([3.0] * 6, [0.0] * 5)))
    assert (found.value, found.answered, found.failed) == (1.0, 6, 4)
    assert found.null.value == 0


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (None, "not run through the subject"),
        (ProbedTexts(2.0, 0.0, failure="The model refused."), "The model refused."),
        (probed([1.0] * 10, [0.0] * 10, level=None), "never fires"),
    ],
)
def test_what_is_undefined_says_why(given, why):
    found = score("generation", FakeModel(silent), item(given))
    assert found.value is None
    assert why in found.reason
    assert (found.answered, found.failed) == (0, 10)


def test_the_baseline_is_judged_by_its_own_texts():
    given = probed([3.0] * 10, [0.0] * 10, baseline=[3.0] * 4 + [0.0] * 6)
    found = score("generation", FakeModel(silent), item(given, baseline="`cat`"), ("baseline",))
    (control,) = [control for control in found.controls if control.name == "baseline"]
    assert control.value == 0.4
    assert control.lift == pytest.approx(0.6)
    assert control.lift_interval.low > 0


def written(reply, label="cats", count=10):
    model = FakeModel(lambda asked: reply(asked) if callable(reply) else reply)
    scorer = registry.judged(ScorerSpec(name="generation", texts=count))
    return asyncio.run(scorer.write(item_of(own=label), ScoreContext(VOCABULARY, 0, model))), model


def test_the_writer_sees_the_label_and_nothing_else():
    reply = json.dumps({"fires": [f"a cat {n}" for n in range(10)], "near": [f"a dog {n}" for n in range(12)]})
    found, model = written(reply)
    assert (len(found.fires), len(found.near), found.failure) == (10, 10, None)
    assert len(model.asked) == 1
    assert (model.asked[0].label, model.asked[0].texts) == ("cats", {})


def test_a_reply_with_too_few_texts_is_repaired_and_then_fails():
    assert written(json.dumps({"fires": ["one"], "near": ["two"]}))[0].failure
    assert written("no json")[0].failure is not None
    few = json.dumps({"fires": [f"{n}" for n in range(5)], "near": [f"n{n}" for n in range(5)]})
    assert len(written(few)[0].fires) == 5


def test_a_hostile_reply_is_bounded_and_cleaned():
    long = ["x" * 10 * LONGEST + str(n) for n in range(9)]
    texts = [f"{n}\x00\x1b[31m\u202e\ud800" for n in range(9)]
    fires, near = texts_of(json.dumps({"fires": texts + long + [7, None, "", "  "], "near": [f"n{n}" for n in range(10)] + texts}), 10)
    assert all(len(text) <= LONGEST and not set(text) & set("\x00\x1b\u202e\ud800") for text in fires)
    assert len(near) == 10
    assert not set(fires) & set(near)
    for bad in ('{"fires": "text", "near": []}', '{"near": []}', "{}", "[]"):
        with pytest.raises(ValueError):
            texts_of(bad, 10)


def test_a_failed_call_is_told():
    def fail(asked):
        raise ReplyInvalidError("None of 6 replies could be read.", calls=["a"])

    found, _ = written(fail)
    assert "None of 6" in found.failure
    assert found.calls == ("a",)
