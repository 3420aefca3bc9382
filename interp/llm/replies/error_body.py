"""Read errors in reply bodies: message, code, and equivalent HTTP status, whatever the actual one."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MAX_QUOTE = 300

# Fields of an error's words and code, in order of preference.
WORDS = ("message", "msg", "error_msg", "error_message", "status_msg", "detail", "description", "reason", "title")
CODES = ("code", "error_code", "status_code", "status", "http_status", "type")
# Fields of a body that hold an error. Without one of these a body is an error by itself, or none.
HOLDERS = ("error", "errors", "base_resp", "detail")
# Values of an error's code that mean success.
WELL = frozenset({0, 200, True, "0", "200", "ok", "success"})

# HTTP statuses of codes in words.
STATUS_OF_CODE: Mapping[str, int] = {
    name: status
    for status, names in {
        400: "invalid_request_error bad_request badrequesterror invalid_argument invalid_parameter invalidparameter context_length_exceeded",
        401: "invalid_api_key incorrect_api_key authentication_error unauthorized unauthenticated invalid_authentication",
        402: "payment_required insufficient_credits insufficient_balance billing_error",
        403: "permission_error permission_denied permissiondenied forbidden access_denied",
        404: "model_not_found not_found_error not_found notfounderror",
        413: "request_too_large",
        429: "rate_limit_exceeded rate_limit_error rate_limit_reached rate_limited rate_limit too_many_requests toomanyrequests "
        "resource_exhausted throttling throttlingexception insufficient_quota quota_exceeded",
        500: "server_error internal_server_error internalservererror internal_error internal api_error",
        503: "service_unavailable unavailable engine_overloaded",
        504: "timeout timeout_error gateway_timeout deadline_exceeded",
        529: "overloaded_error overloaded model_overloaded",
    }.items()
    for name in names.split()
}
# HTTP statuses of errors without a code, by their words.
STATUS_OF_WORDS = (
    (429, re.compile(r"rate.?limit|too many requests|quota", re.IGNORECASE)),
    (
        401,
        re.compile(r"(invalid|incorrect|missing|wrong|no|expired)\b.{0,20}\bapi.?key|unauthori[sz]ed|unauthenticated|authentication", re.IGNORECASE),
    ),
    (404, re.compile(r"model\b.{0,100}\b(not found|does not exist|not exist)|(unknown|no such) model", re.IGNORECASE)),
    (400, re.compile(r"context.(length|window|size)|bad request|invalid request|unsupported parameter", re.IGNORECASE)),
    (503, re.compile(r"overload|unavailable|at capacity", re.IGNORECASE)),
)
UPSTREAM = 502  # an error of which nothing else is known: a gateway's own fault, which may pass


@dataclass(frozen=True, slots=True)
class ErrorSaid:
    """An error's message, code in words, parameter and status; None where not given."""

    message: str
    code: str | None = None
    param: str | None = None
    status: int | None = None


def error_of(text: str) -> ErrorSaid:
    """Return the error in a failed request's body (shapes below), else the text itself."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return ErrorSaid(" ".join(text.split()))
    return _said(body)


def error_inside(body: Any) -> ErrorSaid | None:
    """Return the error, with a `status`, in a body with HTTP status 2xx, if any.

    Shapes: `{"error": {...}}` and `{"error": "text"}` (routers), `[{"error": {...}}]` (Google), `{"object": "error", ...}` (vLLM), `{"type": "error",
    "error": {...}}` (Anthropic), `{"detail": ...}` (FastAPI), `{"code": 429, "message": ...}` (Zhipu, DashScope), `{"success": false, "errors":
    [...]}` (Cloudflare), `{"base_resp": {"status_code": ..., "status_msg": ...}}` (MiniMax).
    """
    if isinstance(body, list):
        return next((found for each in body if isinstance(each, dict) and (found := error_inside(each))), None)
    if not isinstance(body, dict) or not _is_error(body):
        return None
    said = _said(body)
    status = said.status or next((status for status, words in STATUS_OF_WORDS if words.search(said.message)), UPSTREAM)
    return ErrorSaid(said.message, said.code, said.param, status)


def _is_error(body: dict[str, Any]) -> bool:
    if body.get("error") or body.get("errors"):
        return True
    if body.get("choices") or body.get("data"):
        return False
    if body.get("object") == "error" or body.get("type") == "error" or body.get("success") is False or body.get("detail"):
        return True
    response = body.get("base_resp")
    if isinstance(response, dict):
        return response.get("status_code") not in (None, 0)
    return _words(body) is not None and any(isinstance(code, str | int) and code not in WELL for code in _codes(body))


def _said(body: Any) -> ErrorSaid:
    body = next((each for each in body if isinstance(each, dict)), body) if isinstance(body, list) else body
    if not isinstance(body, dict):
        return ErrorSaid(body if isinstance(body, str) else json.dumps(body))
    inner = _inner(body)
    if not isinstance(inner, dict):
        message = inner if isinstance(inner, str) else _words(body) or json.dumps(inner)
        return ErrorSaid(message, _code(body), None, _status(body))
    param = inner.get("param")
    message = (_words(inner) or json.dumps(inner)) + _quoted(inner)
    return ErrorSaid(
        message, _code(inner) or (_code(body) if inner is not body else None), param if isinstance(param, str) else None, _status(inner, body)
    )


def _inner(body: dict[str, Any]) -> Any:
    """Return the first inner error, but all of FastAPI's `detail`, whose entries name fields."""
    name = next((name for name in HOLDERS if body.get(name)), None)
    found = body[name] if name else body
    return found[0] if isinstance(found, list) and name != "detail" and isinstance(found[0], dict) else found


def _words(error: dict[str, Any]) -> str | None:
    return next((text for name in WORDS if isinstance(text := error.get(name), str) and text.strip()), None)


def _quoted(error: dict[str, Any]) -> str:
    """Return what a router quotes of the server behind it (OpenRouter's `metadata.raw`)."""
    metadata = error.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    return f" ({raw[:MAX_QUOTE]})" if isinstance(raw, str) and raw else ""


def _code(error: dict[str, Any]) -> str | None:
    words = [code for code in _codes(error) if isinstance(code, str) and not code.isdigit() and code != "error"]
    return next(iter(words), None)


def _status(*errors: dict[str, Any]) -> int | None:
    """Return the first numeric failure status, else the status of the first known word."""
    codes = [code for error in errors for code in _codes(error)]
    numbers = (int(code) for code in codes if type(code) is int or (isinstance(code, str) and code.isascii() and code.isdigit() and len(code) == 3))
    number = next((number for number in numbers if 400 <= number < 600), None)
    return number or next((status for code in codes if (status := STATUS_OF_CODE.get(str(code).lower()))), None)


def _codes(error: dict[str, Any]) -> Iterator[Any]:
    return (error[name] for name in CODES if error.get(name) is not None)
