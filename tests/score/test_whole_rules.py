"""A judge is told all of a rule, never the display text that only counts its rare values, and what the signs in it mean."""

from dataclasses import replace

import pytest

from interp.domain.explanation import Explanation
from interp.domain.vocabulary import Vocabulary
from interp.explain.pattern.literals import OneOf
from interp.explain.pattern.rule import Clause, Rule
from interp.explain.pattern.sentence import MOST_WRITTEN, sentence, whole_text
from tests.score.cat_feature import VOCABULARY, item_of, score
from tests.score.fake_model import FakeModel, verdicts
from tests.score.test_choice import distractors

LONG = Vocabulary((*(f" w{number}".encode() for number in range(MOST_WRITTEN + 20)), b"\n    "), frozenset())


def explanation_of(literal: OneOf, vocabulary: Vocabulary) -> Explanation:
    rule = Rule((Clause((literal,), 1.0),))
    return Explanation(1, "pattern", sentence(rule, vocabulary), rule=rule.to_json())


def test_rare_values_are_named_and_signs_explained():
    found = explanation_of(OneOf("token", 0, (0, 1), rare=(2, 3, len(LONG) - 1), share=0.9), LONG)
    assert "`␣w2`" not in found.text
    whole = whole_text(found, LONG)
    assert all(f"`␣w{number}`" in whole for number in range(4))
    assert "`↵␣×4`" in whole
    assert whole.endswith("(Here ␣×4 for four spaces, ␣ for a space, ↵ for a line break.)")
    assert whole_text(found, LONG, with_legend=False) + whole[whole.rindex(" (Here") :] == whole


def test_very_long_sets_are_cut_and_say_so():
    whole = whole_text(explanation_of(OneOf("token", 0, (0,), rare=tuple(range(1, MOST_WRITTEN + 20)), share=0.9), LONG), LONG)
    assert f"`␣w{MOST_WRITTEN - 1}`" in whole
    assert f"`␣w{MOST_WRITTEN}`" not in whole
    assert whole.startswith("tokens such as `␣w0`, ")


def test_what_is_no_rule_and_what_cannot_be_read_stays_as_it_is():
    assert whole_text(Explanation(1, "contexts", "names of ␣ birds"), LONG) == "names of ␣ birds"
    assert whole_text(Explanation(1, "pattern", "`␣w1`", rule={"version": 99}), LONG) == "`␣w1`"


def test_a_text_that_another_explainer_wrote_beside_a_rule_is_what_the_judge_reads():
    written = replace(explanation_of(OneOf("token", 0, (0,)), LONG), explainer="planted", text="names of birds")
    assert whole_text(written, LONG) == "names of birds"


@pytest.mark.parametrize("name", ["detection", "fuzz", "simulation", "discrimination", "selection"])
def test_the_judge_sees_the_whole_rule_of_own_null_and_baseline(name):
    rare = (3, 4)
    words = [f"`{VOCABULARY.text(token).replace(' ', '␣')}`" for token in rare]
    own = explanation_of(OneOf("token", 0, (1, 2), rare=rare, share=0.9), VOCABULARY)
    assert not any(word in own.text for word in words)
    item = item_of(distractors=distractors())
    model = FakeModel(verdicts(lambda text, label: True))
    asked = type(item)(**{field: getattr(item, field) for field in type(item).__slots__} | {"explanation": own, "nulls": (own,), "baseline": own})
    score(name, model, asked, controls=frozenset({"baseline"}))
    labels = {each.label for each in model.asked}
    assert labels
    assert all(word in label for label in labels for word in words)
