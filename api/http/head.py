"""Answer HEAD on every GET route, with the same headers and no body (RFC 9110)."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

# An event stream may not end.
STREAMS = "/events"
IS_HEAD = "glossator.is_head"


class HeadAsGet:
    """Middleware that answers HEAD as GET, without the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD" or scope["path"].endswith(STREAMS):
            await self._app(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self._app({**scope, "method": "GET", IS_HEAD: True}, receive, without_body)


def is_head(scope: Scope) -> bool:
    """Return whether a request was a HEAD: a long body need not be made."""
    return bool(scope.get(IS_HEAD))
