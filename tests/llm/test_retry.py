"""What a failed attempt means."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp.domain.errors import (
    AbilityMissingError,
    CallRejectedError,
    EndpointUnreachableError,
    KeyRefusedError,
    ModelUnknownError,
    PromptTooLongError,
    QuotaExhaustedError,
    RefusalError,
)
from interp.llm.transports.base import TransportError
from interp.llm.transports.retry import MAX_WAIT, announced_wait, backoff, decide

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


def status(number: int, message: str = "no", code: str | None = None, **headers: str) -> TransportError:
    return TransportError("status", message, status=number, code=code, headers={name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (status(401), KeyRefusedError),
        (status(403), KeyRefusedError),
        (status(402), QuotaExhaustedError),
        (status(429, code="insufficient_quota"), QuotaExhaustedError),
        (status(404, "The model `x` does not exist.", "model_not_found"), ModelUnknownError),
        (status(404, 'model "llama9" not found, try pulling it first'), ModelUnknownError),
        (status(400, "acme/x is not a valid model ID"), ModelUnknownError),
        (status(404, "Not Found"), EndpointUnreachableError),
        (status(400, "too long", "context_length_exceeded"), PromptTooLongError),
        (status(400, "This model's maximum context length is 4096 tokens."), PromptTooLongError),
        (status(400, "the request exceeds the available context size"), PromptTooLongError),
        (status(413), PromptTooLongError),
        (status(400, "The response was filtered due to the prompt triggering Azure's content management policy.", "content_filter"), RefusalError),
        (status(403, "Your chosen model requires moderation and your input was flagged for violence."), RefusalError),
        (status(400), CallRejectedError),
        (status(422), CallRejectedError),
        (status(501, "logprobs is not supported when tools + stream"), CallRejectedError),
    ],
)
def test_what_is_fatal_says_why(fault: TransportError, error: type) -> None:
    decision = decide(fault, 1, 0.5, model="x")
    assert decision.error is not None and type(decision.error) is error
    assert fault.message in str(decision.error) and decision.error.details["status"] == fault.status


@pytest.mark.parametrize("number", [404, 405, 501])
def test_an_endpoint_without_a_page_lacks_the_ability(number: int) -> None:
    """llama-server answers 501 until it is started with `--embeddings`."""
    decision = decide(status(number, "This server does not support embeddings. Start it with `--embeddings`"), 1, 0.5, path="embeddings")
    assert isinstance(decision.error, AbilityMissingError)


@pytest.mark.parametrize(
    "fault",
    [TransportError(kind, "x") for kind in ("connect", "timeout", "dropped", "garbage")] + [status(n) for n in (408, 409, 500, 502, 503, 529)],
)
def test_what_passes_is_tried_again(fault: TransportError) -> None:
    decision = decide(fault, 1, 0.5)
    assert decision.error is None and not decision.is_rate_limited and decision.is_overload == (fault.status in (503, 529))


def test_a_rate_limit_waits_as_long_as_it_says() -> None:
    for number in (429, 503):
        decision = decide(status(number, retry_after="7"), 1, 0.5)
        assert (decision.error, decision.wait, decision.announced, decision.is_rate_limited, decision.is_overload) == (None, 7.0, 7.0, True, True)
    silent = decide(status(429), 1, 0.5)
    assert silent.is_rate_limited and silent.is_overload and silent.announced is None and silent.wait > 0


@pytest.mark.parametrize("headers", [{"retry_after": "0"}, {"retry_after": "Thu, 01 Jan 2026 11:00:00 GMT"}, {"retry_after": "-1"}, {}])
@pytest.mark.parametrize("number", [429, 503])
def test_a_wait_that_is_none_is_our_own(headers: dict[str, str], number: int) -> None:
    for attempt in (1, 4, 9):
        decision = decide(status(number, **headers), attempt, 0.5, NOW)
        assert decision.error is None and decision.wait == backoff(attempt, 0.5)


@given(st.integers(1, 40), st.floats(0, 1, exclude_max=True), st.floats(1e-6, 1e6))
def test_an_announced_wait_is_kept_above_a_floor_that_grows(attempt: int, chance: float, seconds: float) -> None:
    """However short the announced waits, a minute holds few attempts at one question."""
    decision = decide(status(429, retry_after=f"{seconds:f}"), attempt, chance, NOW)
    assert decision.is_rate_limited and decision.announced is not None
    floor = backoff(attempt, 0.0)
    assert decision.wait >= max(decision.announced, floor) and decision.wait <= max(decision.announced, 2 * floor)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "0"}, None),
        ({"retry-after-ms": "0", "retry-after": "0.0"}, None),
        ({"retry-after-ms": "-5", "retry-after": "2"}, 2.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "Thu, 01 Jan 2027 12:00:00 GMT"}, 365 * 86400.0),
        ({"retry-after": "Thu, 99 Jan 99999999999 12:00:00 GMT"}, None),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Thu, 01 Jan 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Thu, 01 Jan 2026 11:00:00 GMT"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "inf"}, None),
        ({}, None),
    ],
)
def test_waits_are_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    assert announced_wait(headers, NOW) == seconds


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_backoff_is_jittered_and_bounded(attempt: int, chance: float) -> None:
    assert 0 < backoff(attempt, chance) <= MAX_WAIT
    assert backoff(attempt, 0.0) < backoff(attempt, 0.99)
    assert backoff(attempt, chance) <= backoff(attempt + 1, chance)


def test_what_may_have_been_billed() -> None:
    assert not TransportError("connect", "x").may_have_cost and not status(429).may_have_cost and not status(500).may_have_cost
    assert all(TransportError(kind, "x").may_have_cost for kind in ("timeout", "dropped", "garbage")) and status(504).may_have_cost
