"""How large a request may be. FastAPI's own limit answers in plain text; ours is a problem document like every refusal."""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import http_error

MAX_BODY_BYTES = 4 * 1024 * 1024  # a list of a few hundred thousand feature indices
TOO_LARGE = 413


class BodyLimit:
    """Refuses a body that says it is too large before reading it, and one that turns out to be so while it is read."""

    def __init__(self, app: ASGIApp, limit: int = MAX_BODY_BYTES) -> None:
        self._app, self._limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared) > self._limit:
            response = await http_error(Request(scope), HTTPException(TOO_LARGE))
            await response(scope, receive, send)
            return
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._limit:
                raise HTTPException(TOO_LARGE)
            return message

        await self._app(scope, counted, send)
