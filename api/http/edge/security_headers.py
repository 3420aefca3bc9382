"""Add the headers that tell browsers what they may do with an answer."""

import re
from base64 import b64encode
from hashlib import sha256

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.problems import unexpected_error

# An answer that is no page loads and runs nothing.
POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
# Another site's page may not use an answer as a frame, a script or an image.
PROTECTION = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
}
TWO_YEARS = "max-age=63072000"
# Answers below these paths hold secrets, or say who did what.
SECRET_PATHS = ("/v1/keys", "/v1/session", "/v1/audit")


class SecurityHeaders:
    """Middleware that adds these headers to every answer; a route's own headers stay."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        added = _added(scope)
        is_started = False

        async def with_headers(message: Message) -> None:
            nonlocal is_started
            if message["type"] == "http.response.start":
                is_started = True
                headers = MutableHeaders(scope=message)
                for name, value in added.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, with_headers)
        except Exception as error:
            # The framework would answer outside of all middleware, without these headers. It still logs the error.
            if not is_started:
                await (await unexpected_error(Request(scope), error))(scope, receive, with_headers)
            raise


def _added(scope: Scope) -> dict[str, str]:
    headers = dict(PROTECTION)
    if scope["scheme"] == "https":
        headers["Strict-Transport-Security"] = TWO_YEARS
    if scope["path"].startswith(SECRET_PATHS):
        headers["Cache-Control"] = "no-store"
    return headers


def policy_of(page: str, has_files: bool = False) -> str:
    """Return an HTML page's policy: its own inline scripts and styles, by hash.

    A page that `has_files` also loads scripts, styles and images of this server and sends it requests; its scripts may set styles and make images.
    """
    scripts, styles = (_hashes(kind, page) for kind in ("script", "style"))
    sources = {"script-src": scripts, "style-src": styles}
    if has_files:
        own = ["'self'"]
        sources = {
            "script-src": [*own, *scripts],
            "style-src": [*own, "'unsafe-inline'"],
            "img-src": [*own, "data:"],
            "connect-src": own,
        }
    return "; ".join([POLICY, *(" ".join([name, *allowed]) for name, allowed in sources.items() if allowed)])


def _hashes(kind: str, page: str) -> list[str]:
    texts = re.findall(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
    return [f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in texts]
