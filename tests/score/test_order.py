"""The order of a judge's prompt: what is shared comes first, and the prompts of before are there to the letter."""

import asyncio
from itertools import groupby
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.demo.fake_llm.server import ScriptedServer
from interp.domain.spec import PromptOrder, ScorerSpec
from interp.judge import choice, selection, token_levels
from interp.judge.prompts import template
from interp.llm.base import Ability
from interp.llm.prompt_text import parse_fenced
from tests.score.cat_feature import item_of
from tests.score.fake_model import FakeModel
from tests.score.over_http import ScoringEndpoint
from tests.score.test_choice import distractors
from tests.score.test_yes_no import HOSTILE, code_of

GROUPS = choice.ChoiceQuestion([("1.1", "a «cat»"), ("2.1", "a dog")], 1, 2, "window", "round")
TOKENS = token_levels.Tokens(("a", " cat"), np.arange(2), "the ")
LABEL, OTHERS = 'the word "cat"', ('the word "dog"', 'the word "fire"')


class HeardError(Exception):
    """Raised once the prompt is known."""


def prompt_of(kind, label, order, texts=None):
    """The first prompt of a question about two windows, or about `texts`."""
    given = [("1.1", texts[0]), ("2.1", texts[1])] if texts else GROUPS.texts
    window = token_levels.Tokens((*(texts or ("a", " cat")),), np.arange(2), "the ")
    question = choice.ChoiceQuestion(given, 1, 2, "window", "round")
    if kind in ("discriminate", "output", "intrude"):
        return choice.prompt_of(kind, label, question, order)
    model = FakeModel(hear, abilities=frozenset({Ability.LOGPROBS} if kind == "simulate_levels" else ()))
    asked = [(model, label)]
    with pytest.raises(HeardError):
        if kind == "select":
            asyncio.run(selection.select(model, label, texts or ["a cat", "a dog"], order))
        else:
            asyncio.run(token_levels.simulate(asked, [window], [[0]], order))
    return model.asked[0].prompt


def hear(asked):
    raise HeardError


# Digests of the prompts when there was no other order.
BEFORE = {
    ("discriminate", "cats"): "c484c26940da3354db6dd782ee79c0e75a22300da687245a3064515db4f89776",
    ("discriminate", None): "5581da2b10d206feb03401f56c416d274ec74a75c8804910f0df181834edcda5",
    ("output", "cats"): "70fda768646845af9f4461ed4ce04622ee589cf1b955e6f5f1deb53de1784867",
    ("output", None): "0bdfbd62d5ce4b132c97e32d5220ee22e9b257e9817edd82c2f22f8b40b1c779",
    ("intrude", None): "e3a2a61e89b2e0ce38e7cd97660fd2bad8bb53703a39ae2a1c7161e88f5d8938",
    ("simulate", "cats"): "8a5bd4db894836e126710abab53f4a51af8efec70659200f7f77e4e2161ede3a",
    ("simulate", None): "67adb3ea9dfdf78a525812f0e69c03a97d17363ecd31caa6b81bbb410c508879",
    ("simulate_levels", "cats"): "cacf2eecf89f4b2853e9938d8a696dd5e595e805df9facae3e57d976ad1b097e",
    ("simulate_levels", None): "b553eaec58f05817a717b55647afbe6dfef4b041459714ee31453d07ae40f4d5",
    ("select", "cats"): "0f525b40614d416ffa6286cdbcd964c79cb0c25f3b824e40de22665d9b8b5563",
    ("select", None): "7277337df245c9c0b42449cda93992d359b9e40eace050d06b585fd2ae82ed00",
}
LABELLED = ("discriminate", "output", "simulate", "simulate_levels", "select")


@pytest.mark.parametrize(("kind", "label"), BEFORE)
def test_the_label_first_is_the_prompt_of_before_to_the_letter(kind, label):
    assert prompt_of(kind, label, "label_first").digest == BEFORE[kind, label]
    if kind == "intrude":
        assert prompt_of(kind, label, "windows_first").digest == BEFORE[kind, label], "it has no label"


@pytest.mark.parametrize("kind", LABELLED)
@settings(max_examples=30)
@given(texts=st.lists(HOSTILE, min_size=2, max_size=2), label=HOSTILE)
def test_prompts_of_two_labels_begin_alike_up_to_the_label(kind, texts, label):
    prompt, other = (prompt_of(kind, one, "windows_first", texts) for one in (label, None))
    code = code_of(prompt)
    assert not any(code in text.lower() for text in [*texts, label])
    if code_of(other) not in label.lower():
        until = other.messages[1].content.rindex(f"</context-{code}>")
        assert prompt.messages[1].content[:until] == other.messages[1].content[:until]
        assert prompt.prefix == other.prefix != ""
    assert prompt.messages[0] == other.messages[0]
    assert [part.text for part in parse_fenced(prompt.messages[1].content) if part.kind == "explanation"] == [label]


@pytest.mark.parametrize("kind", [*LABELLED, "detect", "fuzz"])
def test_a_template_of_both_orders_differs_in_version(kind):
    now, before = template(kind, "windows_first"), template(kind, "label_first")
    assert now.version == before.version + 1 and now.name == before.name == kind
    user, other = now.part("user"), before.part("user")
    assert user.index("{{contexts}}") < user.index("{{explanation}}") and other.index("{{contexts}}") > other.index("{{explanation}}")


@pytest.mark.parametrize("name", ["discrimination", "selection", "simulation"])
def test_both_orders_are_read_alike_and_the_windows_first_go_out_by_group(name):
    """With one call in flight all questions about one prompt's windows reach the server before the next's."""
    item = item_of(own=LABEL, nulls=OTHERS, distractors=distractors())
    found = {}
    for order in get_args(PromptOrder):
        with ScriptedServer() as server:
            found[order] = ScoringEndpoint(server.base_url, in_flight=1).score(name, item, order=order)
            begun = [body["messages"][1]["content"].partition("\n</context-")[0] for body in server.totals.bodies]
        groups = [group for group, _ in groupby(begun)]
        assert len(groups) == len(set(groups)) == (len(begun) // 3 if order == "windows_first" else len(begun))
    assert found["windows_first"].value == found["label_first"].value is not None
    if name != "discrimination":  # where the scripted judge draws by the whole prompt among groups that fit a null alike
        assert found["windows_first"].null.values == found["label_first"].null.values


def test_the_intruder_knows_no_order():
    with ScriptedServer() as server:
        made = [ScoringEndpoint(server.base_url).score("intruder", item_of(), order=order) for order in get_args(PromptOrder)]
    assert made[0].provenance["template"] == made[1].provenance["template"] == "intrude@2"
    assert made[0].value == made[1].value is not None
    assert ScorerSpec(name="intruder").order == "windows_first"
