"""Which endings of a reply are answers."""

import json

import pytest

from interp.llm.base import Finish, Usage
from interp.llm.replies.finish_reasons import ENDINGS, ending_of
from interp.llm.transports.base import TransportError
from interp.llm.transports.payloads import read_chat

BOUND = Usage(1000, 100, is_known=False)


def reply(finish: object, content: object = "names of har") -> str:
    choice = {"message": {"role": "assistant", "content": content}, "finish_reason": finish}
    return json.dumps({"choices": [choice], "usage": {"prompt_tokens": 10, "completion_tokens": 5}})


@pytest.mark.parametrize(
    ("word", "finish"),
    [
        *((word, "stop") for word in ("stop", "STOP", "eos", "eos_token", "end_turn", "stop_sequence", "COMPLETE", None, "")),
        *((word, "length") for word in ("length", "max_tokens", "MAX_TOKENS", "model_length", "model_context_window_exceeded", "max_output_tokens")),
        *((word, "refusal") for word in ("content_filter", "sensitive", "SAFETY", "refusal", "content_filter: PROHIBITED_CONTENT", "RECITATION")),
        *((word, "invalid") for word in ("tool_calls", "function_call", "repetition", "pause_turn", "OTHER", "brand_new", 7, {"a": 1})),
    ],
)
def test_a_word_is_read_as_what_it_means(word: object, finish: Finish) -> None:
    answer = read_chat(reply(word), BOUND, "", {})
    assert answer.finish == finish
    assert bool(answer.reason) == (finish == "invalid")
    assert finish != "invalid" or not isinstance(word, str) or repr(word) in answer.reason, "an unknown word stands in the reason"


@pytest.mark.parametrize("word", ["error", "abort", "network_error", "insufficient_system_resource", "ERROR", "cancelled", "timeout"])
def test_a_server_that_broke_off_is_a_fault_that_passes_and_costs_what_it_says(word: str) -> None:
    with pytest.raises(TransportError, match=word) as raised:
        read_chat(reply(word), BOUND, "", {"x-request-id": "r"})
    assert raised.value.kind == "garbage" and raised.value.usage == Usage(10, 5) and raised.value.headers == {"x-request-id": "r"}


def test_an_end_that_is_not_told_needs_a_text() -> None:
    assert ending_of(None, has_text=True) == "stop" and ending_of(None, has_text=False) == "invalid"
    assert read_chat(reply(None, None), BOUND, "", {}).finish == "invalid"


def test_the_table_is_in_lower_case_and_answers_are_few() -> None:
    assert all(word == word.lower() for word in ENDINGS)
    assert sum(ending == "stop" for ending in ENDINGS.values()) <= 8
