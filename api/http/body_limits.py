"""Limit the bodies of requests in time and size, and refuse invalid text."""

import re

from anyio import fail_after
from anyio.to_thread import run_sync
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http import text_limits
from api.http.problems import http_error, invalid
from api.schemas.service import FieldError

MAX_BODY_BYTES = 4 * 1024 * 1024  # a list of a few hundred thousand feature indices
LARGE_BODY_BYTES = 64 * 1024
TOO_LARGE, TOO_SLOW = 413, 408
# The rest of an unread body would be parsed as the next request.
CLOSE = {"Connection": "close"}
WHY = "No database, log or answer could hold it."
# Requests whose route reads the body itself, block by block, with limits of its own.
STREAMED = re.compile(r"POST /v1/files|PUT /v1/batches/[^/]+/results")
CURE = "Correct what `errors` names: text is UTF-8 without NUL characters, numbers are finite and of 64 bits; name many features by ranges (0-99)."


class RequestLimits:
    """Middleware that refuses large or slow bodies, and texts and numbers that cannot be stored.

    FastAPI's own limit answers in plain text. This one answers with a problem document.
    """

    def __init__(self, app: ASGIApp, seconds: float, limit: int = MAX_BODY_BYTES) -> None:
        self._app, self._seconds, self._limit = app, seconds, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        wrong = text_limits.wrong_in_head(scope.get("raw_path") or scope["path"].encode(), scope["query_string"], scope["headers"])
        if wrong:
            await invalid(scope, wrong, WHY, CURE)(scope, receive, send)
            return
        if STREAMED.fullmatch(f"{scope['method']} {scope['path']}"):
            await _streamed(self._app, scope, receive, send)
            return
        try:
            with fail_after(self._seconds):
                body = await self._body(scope, receive)
        except (HTTPException, TimeoutError) as error:
            refusal = error if isinstance(error, HTTPException) else HTTPException(TOO_SLOW, headers=CLOSE)
            await (await http_error(Request(scope), refusal))(scope, receive, send)
            return
        if body is None:
            return
        wrong = await _wrong_in(body)
        if wrong:
            await invalid(scope, wrong, WHY, CURE)(scope, receive, send)
            return
        await self._app(scope, _replaying(body, receive), send)

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """Return the whole body; None if the client disconnected; raises HTTPException."""
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared) > self._limit:
            raise HTTPException(TOO_LARGE, headers=CLOSE)
        parts: list[bytes] = []
        read = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
            read += len(parts[-1])
            if read > self._limit:
                raise HTTPException(TOO_LARGE, headers=CLOSE)
            if not message.get("more_body", False):
                return b"".join(parts)


async def _streamed(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Pass the body on as it comes.

    The connection is closed where the answer comes before the body's end.
    """
    is_read = False

    async def reading() -> Message:
        nonlocal is_read
        message = await receive()
        is_read = is_read or not message.get("more_body", False)
        return message

    async def closing(message: Message) -> None:
        if message["type"] == "http.response.start" and not is_read:
            MutableHeaders(scope=message).update(CLOSE)
        await send(message)

    await app(scope, reading, closing)


async def _wrong_in(body: bytes) -> list[FieldError]:
    """Return the errors of a body; a large one is read beside the event loop."""
    if len(body) > LARGE_BODY_BYTES:
        return await run_sync(text_limits.wrong_in_body, body)
    return text_limits.wrong_in_body(body) if body else []


def _replaying(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that yields the body already read, then the connection's later messages."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
