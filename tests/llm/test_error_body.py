"""Errors inside bodies, in the shapes in which servers send them."""

import json
from typing import Any

import pytest

from interp.domain.errors import CallRejectedError, KeyRefusedError, ModelUnknownError, PromptTooLongError, QuotaExhaustedError, RefusalError
from interp.llm.base import Usage
from interp.llm.replies.error_body import ErrorSaid, error_inside, error_of
from interp.llm.transports.base import TransportError
from interp.llm.transports.payloads import json_of, read_chat
from interp.llm.transports.retry import decide

BOUND = Usage(1000, 100, is_known=False)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": {"code": 429, "message": "upstream is busy"}}, ErrorSaid("upstream is busy", None, None, 429)),
        ({"error": {"message": "m", "type": "authentication_error", "code": None}}, ErrorSaid("m", "authentication_error", None, 401)),
        ({"error": {"message": "m", "type": "invalid_request_error", "param": "seed"}}, ErrorSaid("m", "invalid_request_error", "seed", 400)),
        (
            {"error": {"message": "m", "type": "invalid_request_error", "code": "rate_limit_exceeded"}},
            ErrorSaid("m", "rate_limit_exceeded", None, 429),
        ),
        ({"error": "model 'x' not found"}, ErrorSaid("model 'x' not found", None, None, 404)),
        ({"error": "something broke"}, ErrorSaid("something broke", None, None, 502)),
        ({"error": True, "message": "Too many requests"}, ErrorSaid("Too many requests", None, None, 429)),
        ({"error": {"message": "busy"}, "choices": [{"message": {"content": "x"}}]}, ErrorSaid("busy", None, None, 502)),
        ({"object": "error", "message": "m", "type": "BadRequestError", "code": 400}, ErrorSaid("m", "BadRequestError", None, 400)),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "m"}}, ErrorSaid("m", "overloaded_error", None, 529)),
        ({"detail": "Not authenticated: missing api key"}, ErrorSaid("Not authenticated: missing api key", None, None, 401)),
        ({"detail": [{"loc": ["body", "seed"], "msg": "no"}]}, ErrorSaid('[{"loc": ["body", "seed"], "msg": "no"}]', None, None, 502)),
        ([{"error": {"code": 503, "message": "m", "status": "UNAVAILABLE"}}], ErrorSaid("m", "UNAVAILABLE", None, 503)),
        ({"code": 429, "message": "slow down"}, ErrorSaid("slow down", None, None, 429)),
        ({"code": "429", "msg": "slow down", "success": False}, ErrorSaid("slow down", None, None, 429)),
        ({"code": "Throttling", "message": "m", "request_id": "r"}, ErrorSaid("m", "Throttling", None, 429)),
        ({"success": False, "errors": [{"code": 7003, "message": "no route"}]}, ErrorSaid("no route", None, None, 502)),
        ({"choices": None, "base_resp": {"status_code": 1002, "status_msg": "rate limit"}}, ErrorSaid("rate limit", None, None, 429)),
        (
            {"error": {"message": "Provider returned error", "code": 502, "metadata": {"raw": "boom"}}},
            ErrorSaid("Provider returned error (boom)", None, None, 502),
        ),
    ],
)
def test_every_shape_gives_its_words_its_code_and_a_status(body: Any, said: ErrorSaid) -> None:
    assert error_inside(body) == said
    for raw in (json.dumps(body), json.dumps(body).encode()):
        with pytest.raises(TransportError) as raised:
            json_of(raw, {"retry-after": "3"})
        fault = raised.value
        assert (fault.kind, fault.status, fault.message, fault.code, fault.param) == ("status", said.status, said.message, said.code, said.param)
        assert fault.headers == {"retry-after": "3"}


@pytest.mark.parametrize(
    "body",
    [
        {"choices": [{"message": {"content": "x"}}], "error": None, "code": 0},
        {"choices": [], "usage": {}},
        {"data": [1], "object": "list"},
        {"choices": [{"message": {"content": "x"}}], "base_resp": {"status_code": 0, "status_msg": "success"}},
        {"choices": [], "code": 200, "message": "success"},
        {"choices": [], "error": {}, "errors": []},
        {},
        [],
        None,
        7,
    ],
)
def test_what_is_no_error_is_none(body: Any) -> None:
    assert error_inside(body) is None


def test_an_error_in_a_choice_is_an_error() -> None:
    raw = json.dumps({"choices": [{"message": {"content": "half"}, "error": {"code": 429, "message": "upstream is busy"}, "finish_reason": "stop"}]})
    with pytest.raises(TransportError, match="upstream is busy") as raised:
        read_chat(raw, BOUND, "", {"retry-after": "2"})
    decision = decide(raised.value, 1, 0.5)
    assert raised.value.status == 429 and (decision.is_rate_limited, decision.wait, decision.announced) == (True, 2.0, 2.0)


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ({"error": {"code": 429, "message": "m"}}, "rate limited"),
        ({"error": "Rate limit reached"}, "rate limited"),
        ({"error": {"message": "m", "code": "insufficient_quota"}}, QuotaExhaustedError),
        ({"error": {"message": "m", "code": "invalid_api_key"}}, KeyRefusedError),
        ({"error": "Invalid API key"}, KeyRefusedError),
        ({"error": {"message": "m", "code": "model_not_found"}}, ModelUnknownError),
        ({"error": {"message": "maximum context length is 10 tokens", "code": 400}}, PromptTooLongError),
        ({"object": "error", "message": "m", "code": 400}, CallRejectedError),
        ({"error": {"message": "m", "code": "content_filter", "status": 400}}, RefusalError),
        ({"error": {"message": "Your chosen model requires moderation and your input was flagged for x", "code": 403}}, RefusalError),
        ({"error": {"message": "m", "code": 503}}, "transient"),
        ({"error": "boom"}, "transient"),
    ],
)
def test_an_error_under_status_200_is_dealt_with_as_its_status_says(body: Any, outcome: type | str) -> None:
    with pytest.raises(TransportError) as raised:
        json_of(json.dumps(body))
    decision = decide(raised.value, 1, 0.5)
    assert outcome == (type(decision.error) if decision.error else "rate limited" if decision.is_rate_limited else "transient")


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ('{"error": {"message": "m", "type": "t", "param": "p", "code": "c"}}', ("m", "c", "p")),
        ('{"error": {"message": "m", "type": "t", "param": null, "code": 404}}', ("m", "t", None)),
        ('{"error": "m"}', ("m", None, None)),
        ('{"object": "error", "message": "m", "type": "t", "code": 400}', ("m", "t", None)),
        ('{"detail": [{"loc": ["body", "seed"]}]}', ('[{"loc": ["body", "seed"]}]', None, None)),
        ('[{"error": {"message": "m", "status": "INVALID_ARGUMENT", "code": 400}}]', ("m", "INVALID_ARGUMENT", None)),
        ("<html>\n502 Bad  Gateway", ("<html> 502 Bad Gateway", None, None)),
        ("[" * 100_000, None),
        ("null", ("null", None, None)),
    ],
)
def test_error_bodies_of_every_server_are_read(body: str, found: tuple[str, str | None, str | None] | None) -> None:
    said = error_of(body)
    assert (said.message, said.code, said.param) == (found or (body, None, None))
