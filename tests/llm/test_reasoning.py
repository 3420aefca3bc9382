"""Drafts in a model's reasoning are never read, however it is spelt; what an answer quotes stays."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp.judge.yes_no import odds_of
from interp.llm.base import TokenChoice, Usage
from interp.llm.replies.reasoning import answer_in, answer_tokens
from interp.llm.replies.structured import json_object
from interp.llm.transports.payloads import read_chat

ANSWER = '{"explanation": "names of harbours"}'
DRAFT = 'First idea: {"explanation": "words about ships"}. No, that misses half of them.'
SPELT = [
    ("<think>", "</think>"),
    ("<THINK>\n", "\n</THINK>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<unused94>thought\n", "<unused95>"),
    ("<|channel>thought\n", "<channel|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("<|channel|>commentary to=x<|message|>", "<|end|><|start|>assistant<|channel|>final <|constrain|>json<|message|>"),
    ("analysis", "assistantfinal"),
    ("Here is my thought process:\n", "\nHere is my response:\n"),
]


@pytest.mark.parametrize(("opens", "closes"), SPELT)
@pytest.mark.parametrize("answer", [ANSWER, "Names of harbours.", f"```json\n{ANSWER}\n```"])
def test_closed_reasoning_is_left_out(opens: str, closes: str, answer: str) -> None:
    if answer == ANSWER:
        assert json_object(f"{opens}{DRAFT}{closes}\n\n{answer}") == {"explanation": "names of harbours"}
    assert answer_in(f"{opens}{DRAFT}{closes}\n\n{answer}") == answer


@pytest.mark.parametrize(("opens", "closes"), SPELT)
def test_reasoning_that_never_ends_leaves_nothing(opens: str, closes: str) -> None:
    assert answer_in(f"{opens}{DRAFT} So") == ""
    with pytest.raises(ValueError, match="no JSON object"):
        json_object(f"{opens}{DRAFT} So")


@pytest.mark.parametrize("closes", ["</think>", "[/THINK]", "◁/think▷", "<|end_of_thought|>", "</seed:think>"])
@pytest.mark.parametrize("between", ["\n\n", "\n", ""])
def test_reasoning_that_the_template_began_ends_where_it_is_closed(closes: str, between: str) -> None:
    assert answer_in(f"{DRAFT}{closes}{between}{ANSWER}") == ANSWER
    assert answer_in(f"{DRAFT}\n{closes}\nNames of harbours.") == "Names of harbours."
    assert answer_in(f"{DRAFT}\n{closes}") == ""


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"explanation": "the tag <think> at the start of a reply"}),
        json.dumps({"explanation": "what stands between <think> and </think>"}),
        json.dumps({"explanation": "</think>"}),
        json.dumps({"explanation": "<|channel|>analysis<|message|> of a chat template"}),
        json.dumps({"thinking": "a <think>\nnested</think>", "explanation": "x"}, indent=1),
        "[EXPLANATION]: the tag <think> in chat logs",
        "[EXPLANATION]: the closing tag </think> in chat logs",
        "analysis of variance, in tables",
        "no marks at all",
        "",
    ],
)
def test_an_answer_that_speaks_of_the_tags_survives(text: str) -> None:
    assert answer_in(text) == text


def test_the_last_reasoning_counts_and_what_stands_before_it_stays() -> None:
    quoted = json.dumps({"explanation": "the tag </think> in chat logs"})
    assert answer_in(f"<think>{DRAFT}</think>{quoted}") == quoted
    assert answer_in(f"{ANSWER}\n<think>Is that right? Yes.</think>") == ANSWER
    assert answer_in(f"<think>a</think>\n<think>b {DRAFT}</think>\n{ANSWER}") == ANSWER
    assert answer_in(f"<think>the tag <think> opens, {DRAFT} </think> closes\n{DRAFT}\n</think>\n{ANSWER}") == ANSWER
    assert answer_in(f"<|channel|>final<|message|>{ANSWER}<|return|>") == ANSWER


@given(st.lists(st.sampled_from(["<think>", "</think>", "[THINK]", "[/THINK]", "\n", " ", "a", ANSWER, '{"b": "</think>"}', "{"]), max_size=12))
def test_nothing_is_left_to_take_out(parts: list[str]) -> None:
    once = answer_in("".join(parts))
    assert len(once) <= len("".join(parts))
    if "</think>" not in once.replace('{"b": "</think>"}', "") and "<think>" not in once:
        assert answer_in(once) == once


def test_a_reply_with_reasoning_alone_says_so() -> None:
    body = {"choices": [{"message": {"content": f"<think>{DRAFT}"}, "finish_reason": "stop"}]}
    answer = read_chat(json.dumps(body), Usage(10, 10), "", {})
    assert (answer.text, answer.finish, answer.reason) == ("", "stop", "it holds reasoning and no answer")


@pytest.mark.parametrize(
    "message",
    [
        {"content": None, "reasoning_content": DRAFT},
        {"content": "", "reasoning": DRAFT},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": DRAFT}]}]},
        {"content": [{"type": "reasoning", "text": DRAFT}]},
    ],
)
def test_reasoning_beside_the_content_is_not_read(message: dict[str, object]) -> None:
    answer = read_chat(json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}), Usage(10, 10), "", {})
    assert answer.text == "" and answer.reason == "it holds reasoning and no answer"
    with_answer = {"content": [{"type": "thinking", "thinking": []}, {"type": "text", "text": ANSWER}]}
    assert read_chat(json.dumps({"choices": [{"message": with_answer}]}), Usage(10, 10), "", {}).text == ANSWER


def test_odds_are_read_from_the_tokens_of_the_answer() -> None:
    """A server with a parser takes reasoning out of the text, and leaves its tokens among the log-probabilities."""
    words = ["<think>", 'Say {"1": "', "yes", '"}?', " No", "</think>", '{"1": "', "no", '"}']
    choices = [TokenChoice(word, -0.1, ((word, -0.1),)) for word in words]
    assert [choice.token for choice in answer_tokens(choices)] == words[6:]
    assert odds_of(answer_tokens(choices)) == {1: 0.0}
