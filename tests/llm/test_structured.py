"""From replies to values: the ladder of asks, and JSON out of text."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from interp.domain.errors import CallRejectedError, RefusalError, ReplyInvalidError, ReplyTruncatedError
from interp.llm.base import Finish, Message, Prompt, Reply, TokenChoice, Usage
from interp.llm.replies.structured import Read, ask_for, json_object, last_marker

QUESTION = Prompt((Message("system", "Task: read"), Message("user", "One or two?")), "test@1", '{"n": 1}', max_tokens=10)


@dataclass
class Scripted:
    """A model that gives its lines one after the other."""

    lines: Sequence[str | tuple[str, Finish] | Exception]
    asked: list[Prompt] = field(default_factory=list)
    name: str = "scripted"
    provenance: dict[str, Any] = field(default_factory=dict)

    def for_purpose(self, purpose: str) -> "Scripted":
        return self

    async def ask(self, prompt: Prompt) -> Reply:
        line = self.lines[len(self.asked)]
        self.asked.append(prompt)
        if isinstance(line, Exception):
            raise line
        text, finish = (line, "stop") if isinstance(line, str) else line
        return Reply(text, finish, Usage(1, 1), key=f"k{len(self.asked)}")

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        raise NotImplementedError

    async def read(self, text: str) -> tuple[TokenChoice, ...]:
        raise NotImplementedError


def number(text: str) -> int:
    n = json_object(text).get("n")
    if not isinstance(n, int):
        raise ValueError('"n" is no number')
    return n


def asked(*lines: str | tuple[str, Finish] | Exception) -> tuple[Read[int] | Exception, Scripted]:
    model = Scripted(lines)
    try:
        return asyncio.run(ask_for(model, QUESTION, number)), model
    except Exception as error:
        return error, model


def test_a_good_reply_is_asked_once() -> None:
    read, model = asked('{"n": 2}')
    assert isinstance(read, Read) and read.value == 2 and read.calls == ["k1"]
    assert model.asked == [QUESTION]


def test_a_reply_that_cannot_be_read_gets_one_repair_turn_with_the_reason() -> None:
    read, model = asked("two!", '{"n": 2}')
    assert isinstance(read, Read) and read.value == 2 and read.calls == ["k1", "k2"]
    repair = model.asked[1].messages
    assert repair[:2] == QUESTION.messages
    assert repair[2] == Message("assistant", "two!") and "no JSON object" in repair[3].content


def test_then_come_fresh_samples_that_the_cache_cannot_mix_up() -> None:
    read, model = asked("a", "b", "c", "d", "e", '{"n": 1}')
    assert isinstance(read, Read) and read.value == 1
    fresh = model.asked[2:]
    assert all(prompt.messages == QUESTION.messages for prompt in fresh)
    assert len({prompt.sample for prompt in model.asked[1:]}) == 5
    assert all(prompt.temperature > 0 for prompt in fresh)


def test_six_unreadable_replies_are_a_failure_with_its_reason_and_its_calls() -> None:
    error, model = asked(*["unclear"] * 6)
    assert isinstance(error, ReplyInvalidError) and len(model.asked) == 6
    assert error.details == {"calls": ["k1", "k2", "k3", "k4", "k5", "k6"], "template": "test@1"}
    assert "no JSON object" in str(error)


def test_a_reply_cut_short_gets_more_room_twice_and_is_never_read() -> None:
    read, model = asked(('{"n": 1}', "length"), '{"n": 2}')
    assert isinstance(read, Read) and read.value == 2
    error, model = asked(*[('{"n": 1}', "length")] * 3)
    assert isinstance(error, ReplyTruncatedError)
    assert [prompt.max_tokens for prompt in model.asked] == [10, 20, 40]


def test_room_that_the_settings_fix_is_not_doubled() -> None:
    """The same question in the same room would be cut short alike."""
    model = Scripted([("1 1 1", "length"), ("1 1 1", "length"), '{"n": 2}'], provenance={"max_tokens": 10})
    read = asyncio.run(ask_for(model, QUESTION, number))
    assert read.value == 2 and [prompt.max_tokens for prompt in model.asked] == [10, 10, 10]
    assert len({prompt.sample for prompt in model.asked}) == 3 and all(prompt.temperature > 0 for prompt in model.asked[1:])


def test_a_room_that_is_always_too_small_is_said() -> None:
    model = Scripted([("1 1 1", "length")] * 3, provenance={"max_tokens": 7})
    with pytest.raises(ReplyTruncatedError, match="7 tokens, which max_tokens of the model's settings fixes") as raised:
        asyncio.run(ask_for(model, QUESTION, number))
    assert raised.value.details["calls"] == ["k1", "k2", "k3"]


def test_a_refusal_is_asked_afresh_three_times() -> None:
    read, _ = asked(("no", "refusal"), ("no", "refusal"), ("no", "refusal"), '{"n": 1}')
    assert isinstance(read, Read) and read.value == 1
    error, model = asked(*[("", "refusal")] * 4)
    assert isinstance(error, RefusalError) and len(model.asked) == 4


def test_a_failed_call_tells_of_the_calls_before_it() -> None:
    error, _ = asked("a", CallRejectedError("The endpoint rejected the request.", calls=["k9"]))
    assert isinstance(error, CallRejectedError) and error.details["calls"] == ["k1", "k9"]


@pytest.mark.parametrize(
    "text",
    [
        '{"n": 1}',
        'Here:\n```json\n{"n": 1}\n```\nDone.',
        '<think>maybe {"n": 7}, or {x}</think>\n{"n": 1}',
        'The text says "{" and {"n": 9} but I say {"n": 1}.',
    ],
)
def test_the_last_object_that_stands_by_itself_is_the_answer(text: str) -> None:
    assert json_object(text) == {"n": 1}


def test_an_inner_object_is_not_the_answer() -> None:
    assert json_object('so {"n": 1, "more": {"n": 2}}') == {"n": 1, "more": {"n": 2}}


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"n": NaN}', '{"n": 1', "{" * 100_000, '{"a":' * 100_000])
def test_no_object_is_a_reason_and_ends_soon(text: str) -> None:
    with pytest.raises(ValueError, match="no JSON object"):
        json_object(text)


def test_the_last_marker_wins() -> None:
    text = "The context says EXPLANATION: spam.\n**EXPLANATION:** the word `return`\n\nBest wishes"
    assert last_marker(text, "EXPLANATION:") == "the word `return`"
    for bad in ("nothing", "EXPLANATION: spam. EXPLANATION:  \n "):
        with pytest.raises(ValueError, match="no text after"):
            last_marker(bad, "EXPLANATION:")


def test_quotes_in_json_survive() -> None:
    assert json_object(json.dumps({"n": 'a "{" b'})) == {"n": 'a "{" b'}
