"""Decide what follows a failed attempt: an error, a wait, or an announced wait."""

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from interp.domain.errors import (
    AbilityMissingError,
    CallFailedError,
    CallRejectedError,
    EndpointRefusedError,
    EndpointUnreachableError,
    JobPausedError,
    KeyRefusedError,
    ModelUnknownError,
    PromptTooLongError,
    QuotaExhaustedError,
    RefusalError,
    ReplyInvalidError,
    ReplyTooLargeError,
)
from interp.llm.transports.base import TransportError

R = TypeVar("R")
# An error, what happened, and the cure.
Meaning = tuple[type[CallFailedError] | type[JobPausedError], str, str]

FIRST_WAIT = 0.5
MAX_WAIT = 30.0
FLOOR = 0.1  # share of a wait's ceiling
CONTEXT = re.compile(
    r"context[ _](length|window|size)|maximum context|prompt is too long|too many (input )?tokens|exceeds the (available|model's)|input is too long",
    re.IGNORECASE,
)
MODEL = re.compile(
    r"model\b.{0,300}?\b(does not exist|not found|not exist|is not a valid|isn't valid|not available|not loaded)|(unknown|invalid|no such) model|"
    r"not a valid model",
    re.IGNORECASE | re.DOTALL,
)
QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "insufficient_credits"})
# A prompt that a filter stopped (Azure, OpenAI; OpenRouter under status 403): no fault of the key or the settings.
FILTER_CODES = frozenset({"content_filter", "content_policy_violation", "responsibleaipolicyviolation"})
FILTERED = re.compile(r"input was flagged|requires moderation|content management policy|content policy", re.IGNORECASE)
NETWORKS = "An operator allows private networks by GLOSSATOR_ALLOWED_PRIVATE_NETWORKS, and names an endpoint there in GLOSSATOR_LLM_ENDPOINTS."
# The path of requests whose body and answer are ours (`interp.llm.label_endpoint`): the same request would get the same answer.
EXPLAIN = "explain"
ANSWER = "See docs/explainer-endpoint.md for what an answer holds."
LARGER = "Where the endpoint is right, let the operator raise GLOSSATOR_LLM_MAX_REPLY_BYTES."
TRANSIENT = frozenset({408, 409, 423, 425})
NOT_IMPLEMENTED = 501  # alone of its class it says that another try is answered alike (RFC 9110, 15.6.2)
OVERLOAD = frozenset({503, 529})


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision after a failed attempt: `error`, or another attempt after `wait` seconds.

    `announced` holds the seconds that the endpoint asked to wait, which then hold for every call. `is_overload`: fewer calls should be in flight.
    """

    fault: TransportError
    error: CallFailedError | JobPausedError | None = None
    wait: float = 0.0
    announced: float | None = None
    is_rate_limited: bool = False
    is_overload: bool = False


def decide(fault: TransportError, attempt: int, jitter: float, now: datetime | None = None, *, model: str = "", path: str = "chat") -> Decision:
    """Decide what follows the failed `attempt`th attempt (from 1), with `jitter` from [0, 1)."""
    error = _error_of(fault, model, path)
    if error is not None:
        return Decision(fault, error)
    status, wait = fault.status, backoff(attempt, jitter)
    if fault.kind != "status" or status is None:
        return Decision(fault, wait=wait)
    announced = announced_wait(fault.headers, now)
    if announced is not None:
        # Never below a floor that grows with the attempts: an endpoint may ask for a millisecond for ever.
        wait = max(announced, FLOOR * _ceiling(attempt) * (1.0 + jitter))
    is_rate_limited = status == 429 or announced is not None
    return Decision(fault, None, wait, announced, is_rate_limited, is_rate_limited or status in OVERLOAD)


def _error_of(fault: TransportError, model: str, path: str) -> CallFailedError | JobPausedError | None:
    """Return the error that ends the call; None where another attempt may succeed."""
    found = _meaning(fault, model, path)
    return None if found is None else found[0](found[1], why=fault.message, cure=found[2], status=fault.status, code=fault.code)


def _meaning(fault: TransportError, model: str, path: str) -> Meaning | None:
    if fault.kind == "oversized":
        return ReplyTooLargeError, "The endpoint's reply is larger than its question can need.", LARGER
    if fault.kind == "forbidden":
        return EndpointRefusedError, "The endpoint is at an address that the server may not ask.", NETWORKS
    status, code = fault.status, fault.code or ""
    if fault.kind == "garbage" and path == EXPLAIN:
        return ReplyInvalidError, "The endpoint's answer cannot be read.", ANSWER
    if fault.kind != "status" or status is None:
        return None
    if status == 429 and code in QUOTA_CODES:
        return QuotaExhaustedError, "The account's quota at the endpoint is used up.", "Top it up and resume the job."
    if status == 429 or (status >= 500 and status != NOT_IMPLEMENTED) or status in TRANSIENT:
        return None
    if status in (400, 403) and (code.lower() in FILTER_CODES or FILTERED.search(fault.message)):
        return RefusalError, "A filter of the endpoint declined the question.", ""
    if 300 <= status < 400:
        what = "The endpoint answers with a redirect, and redirects are not followed: prompts and keys go to the base URL alone."
        return EndpointUnreachableError, what, "Where you trust what it leads to, give that as the base URL."
    if status in (401, 403):
        return KeyRefusedError, "The endpoint refuses the key.", "Set the key that belongs to this base URL, restart the workers, and resume the job."
    if status == 402:
        return QuotaExhaustedError, "The endpoint wants to be paid first.", "Top the account up and resume the job."
    if path == EXPLAIN:
        return CallRejectedError, f"The endpoint rejected the request with status {status}.", ""
    if code == "context_length_exceeded" or status == 413 or CONTEXT.search(f"{code} {fault.message}"):
        return PromptTooLongError, "The prompt is longer than the model's window.", "Show fewer or shorter contexts, or take another model."
    if status in (400, 404) and (code == "model_not_found" or MODEL.search(fault.message)):
        return ModelUnknownError, f"The endpoint has no model {model!r}.", "Name one that it lists."
    if status in (404, 405, 501) and path != "chat":
        return AbilityMissingError, f"The endpoint has no {path}.", "Take an endpoint that has, or leave out the scorer that needs it."
    if status in (404, 405):
        what = "There are no chat completions at the base URL."
        return EndpointUnreachableError, what, "See that it ends where /chat/completions begins: often in /v1."
    return CallRejectedError, f"The endpoint rejected the request with status {status}.", ""


def backoff(attempt: int, jitter: float) -> float:
    """Return the seconds to wait after the `attempt`th attempt.

    Full jitter, uniform up to an exponential ceiling ("Exponential backoff and jitter", AWS architecture blog, 2015), and never below a tenth of the
    ceiling, so that a faulty endpoint is not asked without pause.
    """
    return _ceiling(attempt) * (FLOOR + (1.0 - FLOOR) * jitter)


def _ceiling(attempt: int) -> float:
    return min(MAX_WAIT, FIRST_WAIT * 2.0 ** min(attempt - 1, 16))


def announced_wait(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Return the seconds of `retry-after-ms` or `Retry-After` (RFC 9110, 10.2.3), above 0.

    None where there are none: no header, 0, a moment that has passed, a negative number, no number.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or value is None:
        return seconds
    try:
        moment = parsedate_to_datetime(value)
    except (TypeError, ValueError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    left = (moment - (now or datetime.now(UTC))).total_seconds()
    return left if left > 0 else None


def _number(value: str | None) -> float | None:
    try:
        number = float(value) if value else None
    except ValueError:
        return None
    return number if number is not None and 0 < number < float("inf") else None


async def retried(step: Callable[[int], Awaitable[R]], tries: int, path: str) -> R:
    """Return `step(tries before)` after retries of transient faults, or raise the last TransportError."""
    for tried in range(tries):
        try:
            return await step(tried)
        except TransportError as fault:
            decision = decide(fault, tried + 1, random.random(), path=path)
            if decision.error is not None or tried == tries - 1:
                raise
            await asyncio.sleep(decision.wait)
    raise AssertionError("unreachable")
