"""A reply is read as a label, as a shrug, or not at all."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp.explain.label import LONGEST, read_label, schema, typical
from interp.llm.base import Message
from interp.llm.prompt_text import fence

PROMPT = (
    Message("system", 'Task: explain\nSay in one phrase what it reacts to.\n{"explanation": "<your phrase>"}'),
    Message("user", "2 contexts:\n" + fence([("1", "the «quick» brown fox jumps over the lazy dog"), ("2", "a «fast» car")])),
)


@pytest.mark.parametrize(
    "reply",
    [
        '{"explanation": "words for speed"}',
        '{"thinking": "both are fast; {\\"explanation\\": \\"no\\"}", "explanation": "words for speed"}',
        'Here it is:\n```json\n{"explanation": "words for speed"}\n```\nI hope that this helps.',
        "quick and fast are alike.\n\nEXPLANATION: words for speed",
        "EXPLANATION: my first guess\nNo, rather:\nEXPLANATION: words for speed\n",
        "**Explanation:** words for speed",
        "[EXPLANATION]: words for speed",
        'EXPLANATION: {"explanation": "words for speed"}',
        '{"explanation": "my first guess"}\nEXPLANATION: words for speed',
        '{"explanation": "  words\\n for\\tspeed\\u0000 "}',
    ],
)
def test_the_ways_in_which_models_answer(reply):
    assert read_label(reply, PROMPT).label == "words for speed"


@pytest.mark.parametrize(
    "words",
    [
        "unclear",
        "Unclear.",
        " UNKNOWN ",
        "n/a",
        "N/A.",
        "None",
        "",
        "...",
        "no clear pattern",
        "There is no common pattern found.",
        "Cannot determine",
    ],
)
def test_a_shrug_is_no_label(words):
    said = read_label(f'{{"explanation": "{words}"}}', PROMPT)
    assert said.label is None


@pytest.mark.parametrize(
    "label", ["unknown words in quotation marks", "the word unclear", "none of the above, as an answer", "`null` after `=`", "`(`", '"."', "("]
)
def test_labels_that_only_look_like_shrugs_stand(label):
    assert read_label(json.dumps({"explanation": label}), PROMPT).label == label


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("I would say words for speed", "no JSON object"),
        ("", "no JSON object"),
        ("EXPLANATION:", "no text"),
        ('{"explanation": ["a", "b"]}', "no text under"),
        ('{"answer": "words for speed"}', "no text under"),
        ('["explanation"]', "no text under"),
        ('{"explanation": "words for sp', "no JSON object"),
        (f'{{"explanation": "{"long " * 100}"}}', "characters"),
        ('{"explanation": "<your phrase>"}', "repeats the prompt"),
        ('{"explanation": "Say in one phrase what it reacts to."}', "repeats the prompt"),
        ('{"explanation": "The quick brown fox jumps over the lazy dog"}', "repeats the prompt"),
        ('{"explanation": "I\'m sorry, but I can\'t help with that."}', "refusal"),
        ('{"explanation": "As an AI language model I have no view."}', "refusal"),
    ],
)
def test_what_is_no_answer_is_asked_for_again_with_the_reason(reply, why):
    with pytest.raises(ValueError, match=why):
        read_label(reply, PROMPT)


def test_the_longest_label_that_is_taken():
    assert read_label(f'{{"explanation": "{"x" * LONGEST}"}}', PROMPT).label == "x" * LONGEST
    with pytest.raises(ValueError, match="401 characters"):
        read_label(f'{{"explanation": "{"x" * (LONGEST + 1)}"}}', PROMPT)


def test_an_earlier_answer_of_its_own_may_be_repeated():
    turns = (*PROMPT, Message("assistant", '{"explanation": "any word that tells how fast a thing moves"}'))
    assert read_label('{"explanation": "any word that tells how fast a thing moves"}', turns).label == "any word that tells how fast a thing moves"


@given(st.text(max_size=80))
def test_whatever_comes_back_is_a_label_that_can_be_kept_a_shrug_or_an_error(reply):
    for form in (reply, f"EXPLANATION: {reply}", f'{{"explanation": "{reply}"}}', '{"explanation": "\\ud800' + reply):
        try:
            said = read_label(form, PROMPT)
        except ValueError:
            continue
        if said.label is not None:
            assert said.label == " ".join(said.label.split())
            assert 0 < len(said.label.encode()) <= 4 * LONGEST
            assert "\x00" not in said.label


def test_half_a_surrogate_pair_can_be_stored():
    assert read_label('{"explanation": "words \\ud800 apart"}', PROMPT).label == "words ? apart"


@pytest.mark.parametrize("reasoning", [False, True])
def test_the_typical_reply_is_read_and_fits_its_schema(reasoning):
    said, body = read_label(typical(reasoning), PROMPT), schema(reasoning).body
    assert said.label is not None
    assert list(body["properties"]) == body["required"] == (["thinking", "explanation"] if reasoning else ["explanation"])
    assert body["additionalProperties"] is False
