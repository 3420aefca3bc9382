"""What a failed attempt means: a pure decision between fatal, transient and rate-limited. The loop that acts on it is in `lane.py`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from interp.domain.errors import (
    AbilityMissingError,
    CallRejectedError,
    EndpointRefusedError,
    EndpointUnreachableError,
    KeyRefusedError,
    LlmError,
    ModelUnknownError,
    PromptTooLongError,
    QuotaExhaustedError,
    RefusalError,
    ReplyTooLargeError,
)
from interp.llm.transports.base import TransportError

FIRST_WAIT = 0.5
LONGEST_WAIT = 30.0
FLOOR = 0.1  # of a wait's ceiling
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
LARGER = "Where the endpoint is right, let the operator raise GLOSSATOR_LLM_MAX_REPLY_BYTES."
TRANSIENT = frozenset({408, 409, 423, 425})
OVERLOAD = frozenset({503, 529})


@dataclass(frozen=True, slots=True)
class Fatal:
    """No further attempt: the call fails with this error, or its job pauses with it."""

    error: LlmError


@dataclass(frozen=True, slots=True)
class Transient:
    """Another attempt after `wait` seconds. `is_overload`: the endpoint is asked too much, so fewer calls should be in flight."""

    wait: float
    is_overload: bool = False


@dataclass(frozen=True, slots=True)
class RateLimited:
    """Another attempt after `wait` seconds. `announced`: the seconds that the endpoint named, which hold for every call; None where it named none."""

    wait: float
    announced: float | None


Decision = Fatal | Transient | RateLimited


def decide(fault: TransportError, attempt: int, chance: float, now: datetime | None = None, *, model: str = "", path: str = "chat") -> Decision:
    """What to do after the `attempt`th attempt (from 1) ended in a fault. `chance` in [0, 1) draws the jitter."""
    if fault.kind == "oversized":
        return Fatal(_of(ReplyTooLargeError, "The endpoint's reply is larger than its question can need.", fault, LARGER))
    if fault.kind == "forbidden":
        return Fatal(_of(EndpointRefusedError, "The endpoint is at an address that the server may not ask.", fault, NETWORKS))
    if fault.kind != "status" or fault.status is None:
        return Transient(backoff(attempt, chance))
    status, announced = fault.status, announced_wait(fault.headers, now)
    if status == 429:
        if (fault.code or "") in QUOTA_CODES:
            return Fatal(_of(QuotaExhaustedError, "The account's quota at the endpoint is used up.", fault, "Top it up and resume the job."))
        return _limited(announced, attempt, chance)
    if status >= 500 or status in TRANSIENT:
        return Transient(backoff(attempt, chance), is_overload=status in OVERLOAD) if announced is None else _limited(announced, attempt, chance)
    return Fatal(_fatal(fault, status, model, path))


def _limited(announced: float | None, attempt: int, chance: float) -> RateLimited:
    """As long as the endpoint says, and never below a jittered floor that grows with the attempts: it may announce a millisecond for ever."""
    wait = backoff(attempt, chance) if announced is None else max(announced, FLOOR * _ceiling(attempt) * (1.0 + chance))
    return RateLimited(wait, announced)


def _fatal(fault: TransportError, status: int, model: str, path: str) -> LlmError:
    text = f"{fault.code or ''} {fault.message}"
    if status in (400, 403) and ((fault.code or "").lower() in FILTER_CODES or FILTERED.search(fault.message)):
        return _of(RefusalError, "A filter of the endpoint declined the question.", fault, "")
    if 300 <= status < 400:
        return _of(
            EndpointUnreachableError,
            "The endpoint answers with a redirect, and redirects are not followed: prompts and keys go to the base URL alone.",
            fault,
            "Where you trust what it leads to, give that as the base URL.",
        )
    if status in (401, 403):
        return _of(
            KeyRefusedError,
            "The endpoint refuses the key.",
            fault,
            "Set the key that belongs to this base URL, restart the workers, and resume the job.",
        )
    if status == 402:
        return _of(QuotaExhaustedError, "The endpoint wants to be paid first.", fault, "Top the account up and resume the job.")
    if fault.code == "context_length_exceeded" or status == 413 or CONTEXT.search(text):
        return _of(
            PromptTooLongError, "The prompt is longer than the model's window.", fault, "Show fewer or shorter contexts, or take another model."
        )
    if status in (400, 404) and (fault.code == "model_not_found" or MODEL.search(fault.message)):
        return _of(ModelUnknownError, f"The endpoint has no model {model!r}.", fault, "Name one that it lists.")
    if status in (404, 405, 501) and path != "chat":
        return _of(AbilityMissingError, f"The endpoint has no {path}.", fault, "Take an endpoint that has, or leave out the scorer that needs it.")
    if status in (404, 405):
        return _of(
            EndpointUnreachableError,
            "There are no chat completions at the base URL.",
            fault,
            "See that it ends where /chat/completions begins: often in /v1.",
        )
    return _of(CallRejectedError, f"The endpoint rejected the request with status {status}.", fault, "")


def _of(kind: type[LlmError], what: str, fault: TransportError, cure: str) -> LlmError:
    return kind(what, why=fault.message, cure=cure, status=fault.status, code=fault.code)


def backoff(attempt: int, chance: float) -> float:
    """Seconds to wait after the `attempt`th attempt: full jitter, uniform up to an exponential ceiling ("Exponential backoff and jitter", AWS
    architecture blog, 2015). Never below a tenth of the ceiling, so that a faulty endpoint is not hammered."""
    return _ceiling(attempt) * (FLOOR + (1.0 - FLOOR) * chance)


def _ceiling(attempt: int) -> float:
    return min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(attempt - 1, 16))


def announced_wait(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds to wait as the endpoint says: `retry-after-ms`, or `Retry-After` in seconds or as a date (RFC 9110, 10.2.3), always above 0.

    None where it does not say, or says what is no wait: 0, a moment that has passed, a negative number, no number.
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
