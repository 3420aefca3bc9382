"""Bodies of replies as servers really send them, prices, and names of questions."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp.domain.spec import ModelSpec, Price
from interp.llm.base import Message, Usage
from interp.llm.cache_key import Namer, shown_url
from interp.llm.pricing import rates_of
from interp.llm.transports.base import ChatRequest, TransportError
from interp.llm.transports.endpoint import Endpoint
from interp.llm.transports.payloads import (
    bound_of,
    chat_body,
    choices_of,
    read_chat,
    read_failed_generation,
    read_prompt_tokens,
    read_vectors,
    usage_of,
)
from interp.llm.transports.quirks import EndpointQuirks
from tests.llm.conftest import question

BOUND = Usage(1000, 100, is_known=False)
OPENAI = "https://api.openai.com/v1"


def body(message: dict[str, Any] | None = None, finish: str | None = "stop", **others: Any) -> str:
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    return json.dumps({"choices": [{"index": 0, "message": message or {"content": "hi"}, "finish_reason": finish}], "usage": usage} | others)


@pytest.mark.parametrize(
    ("raw", "text", "finish"),
    [
        (body(), "hi", "stop"),
        (body(finish=None), "hi", "stop"),
        (body(finish="eos"), "hi", "stop"),
        (body(finish="length"), "hi", "length"),
        (body({"content": None}, "length"), "", "length"),
        (body({"content": "so", "refusal": None}, "content_filter"), "so", "refusal"),
        (body({"content": None, "refusal": "I will not."}), "I will not.", "refusal"),
        (body({"content": [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]}), "ab", "stop"),
        (body({"content": None}), "", "stop"),
    ],
)
def test_replies(raw: str, text: str, finish: str) -> None:
    answer = read_chat(raw, BOUND, "", {})
    assert (answer.text, answer.finish, answer.usage) == (text, finish, Usage(10, 5))


@pytest.mark.parametrize("raw", ["", "{", "[]", "null", "\x00", "[" * 10**5])
def test_garbage_is_a_fault(raw: str) -> None:
    with pytest.raises(TransportError):
        read_chat(raw, BOUND, "", {})


@pytest.mark.parametrize(
    ("body", "finish"),
    [
        ({"choices": []}, "refusal"),
        ({"choices": [{"message": None, "finish_reason": "stop"}]}, "refusal"),
        ({"choices": [{"finish_reason": None}]}, "refusal"),
        ({"choices": [{}]}, "refusal"),
        ({}, "invalid"),
        ({"choices": None}, "invalid"),
        ({"choices": [7]}, "invalid"),
        ({"choices": "no"}, "invalid"),
    ],
)
def test_a_body_without_an_answer_is_none_and_says_why(body: dict[str, Any], finish: str) -> None:
    """What a filter leaves of a prompt concerns one question, billed as it says."""
    answer = read_chat(json.dumps(body | {"usage": {"prompt_tokens": 10, "completion_tokens": 0}}), BOUND, "", {})
    assert (answer.text, answer.finish, answer.usage) == ("", finish, Usage(10, 0)) and answer.reason


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("Failed to generate JSON. Please adjust your prompt. See 'failed_generation' for more details.", "json_validate_failed"),
        ("Generated JSON does not match the expected schema. Errors: additionalProperties 'x' not allowed", "json_validate_failed"),
        ("The model produced invalid content. Consider modifying your prompt.", None),
    ],
)
def test_a_server_that_could_not_make_json_gave_a_reply_that_is_no_answer(message: str, code: str | None) -> None:
    answer = read_failed_generation(TransportError("status", message, status=400, code=code, raw="{}"), BOUND, "sent")
    assert answer is not None and (answer.text, answer.finish, answer.usage) == ("", "invalid", BOUND) and message in answer.reason


def test_other_faults_are_no_failed_generation() -> None:
    for fault in (
        TransportError("status", "'response_format' is not supported", status=400, param="response_format"),
        TransportError("dropped", "invalid json"),
    ):
        assert read_failed_generation(fault, BOUND, "") is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "choices",
                        "message",
                        "content",
                        "usage",
                        "prompt_tokens",
                        "completion_tokens",
                        "logprobs",
                        "error",
                        "finish_reason",
                        "refusal",
                        "token",
                        "logprob",
                        "top_logprobs",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=25,
    )
)
def test_no_body_breaks_the_reader(value: Any) -> None:
    try:
        answer = read_chat(json.dumps(value), BOUND, "", {})
    except TransportError:
        return
    assert 0 <= answer.usage.prompt_tokens <= 1000 and 0 <= answer.usage.completion_tokens <= 100
    choices_of(value)


@pytest.mark.parametrize("value", [1000, 1e308, float("inf"), float("nan")])
def test_what_is_no_log_probability_is_left_out(value):
    assert choices_of({"content": [{"token": "a", "logprob": value}]}) == ()
    assert choices_of({"content": [{"token": "a", "logprob": -1.0, "top_logprobs": [{"token": "b", "logprob": value}]}]}) == ()
    assert read_prompt_tokens({"choices": [{"logprobs": {"tokens": ["a", "b", "c"], "token_logprobs": [None, value, -1.0]}}]}) is None


def test_numbers_that_no_float_holds_are_no_crash():
    huge = 10**400
    assert choices_of({"content": [{"token": "a", "logprob": huge}]}) == ()
    assert read_prompt_tokens({"choices": [{"prompt_logprobs": [None, {"7": {"logprob": huge, "decoded_token": "a"}}]}]}) is None
    assert read_prompt_tokens({"choices": [{"logprobs": {"tokens": ["a", "b"], "token_logprobs": [huge, -1.0]}}]}) is None
    for entry in ({"index": 0, "embedding": [huge]}, {"index": float("inf"), "embedding": [1.0]}):
        with pytest.raises(TransportError, match="no lists of numbers"):
            read_vectors({"data": [entry]}, 1)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        7,
        {"prompt_tokens": -1, "completion_tokens": 5},
        {"prompt_tokens": 10, "completion_tokens": 101},
        {"prompt_tokens": 1001, "completion_tokens": 1},
        {"prompt_tokens": 0, "completion_tokens": 0},
        {"prompt_tokens": "10", "completion_tokens": 5},
        {"prompt_tokens": True, "completion_tokens": 5},
        {"prompt_tokens": 10**30, "completion_tokens": 5},
        {"prompt_tokens": 10, "completion_tokens": None},
    ],
)
def test_usage_that_is_missing_or_cannot_be_is_the_bound(usage: Any) -> None:
    assert usage_of({"usage": usage}, BOUND) == BOUND


@pytest.mark.parametrize(
    ("details", "cached"),
    [({"cached_tokens": 8}, 8), ({"cached_tokens": 11}, 0), ({"cached_tokens": -1}, 0), ({"cached_tokens": "8"}, 0), (None, 0), (7, 0)],
)
def test_cached_tokens_are_read_where_they_can_be_true(details: Any, cached: int) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": details}
    assert usage_of({"usage": usage}, BOUND) == Usage(10, 5, cached_tokens=cached)


@given(st.lists(st.text(), max_size=4))
def test_the_bound_is_never_below_the_bytes(texts: list[str]) -> None:
    messages = tuple(Message("user", text) for text in texts)
    assert bound_of(messages, None, 7).prompt_tokens >= sum(len(text.encode("utf-8", "replace")) for text in texts)
    assert bound_of(messages, None, 7).completion_tokens == 7


def request(**spec: Any) -> ChatRequest:
    prompt = question(seed=3, top_logprobs=20, temperature=0.0)
    return ChatRequest("k", ModelSpec(**({"model": "m"} | spec)), prompt, BOUND)


def learned(
    fault_message: str, param: str | None = None, status: int = 400, dialect: EndpointQuirks | None = None, **spec: Any
) -> tuple[bool, dict[str, Any]]:
    dialect, asked = dialect or EndpointQuirks(), request(**spec)
    known = dialect.learn(TransportError("status", fault_message, status=status, param=param), asked, chat_body(asked, dialect))
    return known, chat_body(asked, dialect)


@pytest.mark.parametrize(
    ("message", "param", "gone"),
    [
        ("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", "max_tokens", "max_tokens"),
        ("Unsupported value: 'temperature' does not support 0.0 with this model.", "temperature", "temperature"),
        ("You are not allowed to request logprobs from this model", None, "logprobs"),
        ("Unrecognized request argument supplied: seed", None, "seed"),
        ("[{'type': 'extra_forbidden', 'loc': ('body', 'seed')}]", None, "seed"),
    ],
)
def test_a_parameter_that_a_rejection_names_is_not_sent_again(message: str, param: str | None, gone: str) -> None:
    known, sent = learned(message, param)
    assert known and gone not in sent


def test_forms_of_json_go_down_the_ladder_and_stay_where_the_settings_insist() -> None:
    dialect = EndpointQuirks()
    message = "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model."
    known, sent = learned(message, "response_format", dialect=dialect)
    assert known and sent["response_format"] == {"type": "json_object"} and "JSON schema" in sent["messages"][-1]["content"]
    known, sent = learned("'response_format' is not supported", "response_format", dialect=dialect)
    assert known and "response_format" not in sent and "JSON schema" in sent["messages"][-1]["content"]
    known, sent = learned(message, "response_format", structured="json_schema")
    assert not known and sent["response_format"]["type"] == "json_schema"


@pytest.mark.parametrize(
    "message",
    [
        "Grammar error: Invalid type: nope",  # vLLM 0.32
        "Unable to generate parser for this template. Automatic parser generation failed: JSON schema error at #/properties/a: unrecognized type x",
        "Failed to initialize samplers: failed to parse grammar",  # llama.cpp
    ],
)
def test_a_grammar_that_a_server_cannot_make_is_one_of_the_schema(message: str) -> None:
    known, sent = learned(message)
    assert known and sent["response_format"] == {"type": "json_object"}


def test_alternatives_go_down_before_they_go() -> None:
    known, sent = learned("top_logprobs must be at most 5", "top_logprobs")
    assert known and sent["top_logprobs"] == 5


@pytest.mark.parametrize(
    ("message", "param", "status"),
    [
        ("max_tokens is too large: 64. This model supports at most 16 completion tokens.", "max_tokens", 400),
        ("This model's maximum context length is 10 tokens.", "messages", 400),
        ("max_tokens=64 cannot be greater than max_model_len=32. Please request fewer output tokens.", "max_tokens", 400),
        ("The prompt breaks our rules of grammar", None, 400),
        ("Your temperature looks fine, but the prompt breaks our rules", None, 400),
        ("'temperature' is not supported", "temperature", 500),
    ],
)
def test_what_is_not_about_a_parameter_teaches_nothing(message: str, param: str | None, status: int) -> None:
    assert learned(message, param, status)[0] is False


def test_openai_gets_a_cache_key_and_others_where_the_settings_say_so() -> None:
    def sent(base_url: str, **spec: Any) -> bool:
        asked = ChatRequest("k", ModelSpec(**({"model": "m"} | spec)), question(prefix="0" * 32), BOUND)
        return "prompt_cache_key" in chat_body(asked, EndpointQuirks.of(base_url))

    assert sent(OPENAI) and not sent(OPENAI, prompt_cache_key=False)
    assert sent("http://127.0.0.1/v1", prompt_cache_key=True) and not sent("http://127.0.0.1/v1")


def test_a_setting_of_transport_decides_no_answer() -> None:
    """A cache key leaves cached replies valid, and digests of older jobs unchanged."""
    assert Namer(ModelSpec(model="m"), OPENAI).chat(question(prefix="0" * 32)) == Namer(ModelSpec(model="m", prompt_cache_key=True), OPENAI).chat(
        question()
    )
    assert (
        "prompt_cache_key" not in ModelSpec(model="m").model_dump()
        and "prompt_cache_key" in ModelSpec(model="m", prompt_cache_key=False).model_dump()
    )


def test_learning_ends() -> None:
    """A server that calls every parameter wrong teaches a bounded number of times."""
    dialect, asked, lessons = EndpointQuirks(), request(), 0
    while True:
        sent = chat_body(asked, dialect)
        name = next(
            (name for name in ("response_format", "logprobs", "temperature", "seed", "max_tokens", "max_completion_tokens") if name in sent), None
        )
        if name is None or not dialect.learn(TransportError("status", f"{name} is not supported", status=400, param=name), asked, sent):
            break
        lessons += 1
    assert lessons <= 8


def test_openai_is_asked_in_its_own_words() -> None:
    assert EndpointQuirks.of(OPENAI).token_field == "max_completion_tokens" and EndpointQuirks.of("http://127.0.0.1/v1").token_field == "max_tokens"


def test_prices_are_stated_or_listed_or_unknown() -> None:
    assert rates_of(ModelSpec(model="x", price=Price(input=1, output=2)), "http://127.0.0.1:1/v1").cost(Usage(10**6, 10**6)) == 3.0
    half = Usage(10**6, 10**6, cached_tokens=5 * 10**5)
    assert rates_of(ModelSpec(model="x", price=Price(input=1, output=2, cached_input=0.1)), OPENAI).cost(half) == pytest.approx(2.55)
    assert rates_of(ModelSpec(model="x", price=Price(input=1, output=2)), OPENAI).cost(half) == 3.0, (
        "an unknown price of cached tokens is the full one"
    )
    listed = rates_of(ModelSpec(model="gpt-4o-mini"), OPENAI)
    assert listed.cached_input < listed.input
    assert listed is not None and 0 < listed.input < listed.output
    halved = rates_of(ModelSpec(model="gpt-4o-mini", transport="batch"), OPENAI)
    assert halved is not None and halved.input == listed.input / 2
    assert rates_of(ModelSpec(model="gpt-4o-mini"), "http://127.0.0.1:11434/v1") is None, "a local model of a famous name"
    assert rates_of(ModelSpec(model="no-such-model"), OPENAI) is None


def test_names_of_questions() -> None:
    def name(base_url: str = OPENAI, **spec: Any) -> str:
        return Namer(ModelSpec(**({"model": "m"} | spec)), base_url).chat(question())

    assert name() == name(transport="batch", timeout_seconds=1, price=Price(input=1, output=1), context_window=1000)
    others = [
        name("http://x/v1"),
        name(model="n"),
        name(temperature=1),
        name(temperature=None),
        name(structured="text"),
        name(max_tokens=9),
        name(extra={"top_p": 0.5}),
    ]
    assert len({name(), *others}) == 8
    assert name(extra={"a": 1, "b": 2}) == name(extra={"b": 2, "a": 1})


def test_urls_are_shown_without_what_they_may_hide() -> None:
    assert shown_url("https://me:secret@host:8/v1/?key=secret") == "https://host:8/v1"


def test_keys_are_cut_out_of_what_endpoints_say() -> None:
    key = "weird key 123"
    endpoint = Endpoint("http://127.0.0.1:1/v1", key)
    said = endpoint.clean(f"Incorrect API key provided: sk-proj-********abcd, or {key}.")
    assert key not in said and "abcd" not in said and key not in repr(endpoint)
