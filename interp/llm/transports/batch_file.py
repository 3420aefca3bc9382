"""Files of the Batch API: JSON lines up, JSON lines down (OpenAI, platform.openai.com/docs/guides/batch)."""

import json
from typing import Any

from interp.llm.replies.error_body import error_of
from interp.llm.transports.base import TransportError

PATH = "/v1/chat/completions"
MAX_LINES = 50_000
MAX_BYTES = 200_000_000
EXPIRED = "batch_expired"


def line_of(key: str, body: dict[str, Any]) -> bytes:
    """Write a question as a line: `custom_id` is its key."""
    return json.dumps({"custom_id": key, "method": "POST", "url": PATH, "body": body}).encode() + b"\n"


def parse_line(text: bytes) -> tuple[str, dict[str, Any]] | None:
    """Return (key, line) of a line of an output or error file; None where it is none: its question counts as not answered."""
    try:
        line = json.loads(text) if text.strip() else None
    except (ValueError, RecursionError):
        return None
    return (line["custom_id"], line) if isinstance(line, dict) and isinstance(line.get("custom_id"), str) else None


def reply_body(line: dict[str, Any]) -> str | None:
    """Return the reply's body as JSON text; None for a line that expired. Raises TransportError for one that ended in an error."""
    response, error = line.get("response"), line.get("error")
    if isinstance(response, dict):
        text = json.dumps(response.get("body"), ensure_ascii=False)
        status = response.get("status_code")
        if status == 200:
            return text
        said = error_of(text)
        number = status if isinstance(status, int) else 500
        raise TransportError("status", said.message or f"HTTP {status}", status=number, code=said.code, param=said.param, raw=text)
    code = str(error.get("code")) if isinstance(error, dict) else ""
    if code == EXPIRED:
        return None
    message = str(error.get("message")) if isinstance(error, dict) else "the line holds neither a response nor an error"
    raise TransportError("status", message, status=500, code=code or None)
