"""Answer browsers' problems with pages instead of JSON."""

import gzip
from http import HTTPStatus
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.pages import prefers_html
from api.http.problems import MEDIA_TYPE
from api.pages.rendering import HTMX, environment, headers, is_fragment, shared
from api.schemas.service import Problem

# The part of a page that a refusal to htmx goes into.
PLACE = {"HX-Retarget": "#problem", "HX-Reswap": "innerHTML"}
# htmx loads the whole page again, which is then the sign-in page.
RELOAD = {"HX-Refresh": "true"}
MAX_PROBLEM_BYTES = 1 << 20


class ProblemPages:
    """Middleware that renders problem documents for those who prefer HTML."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] == "HEAD" or not _wants_page(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        start: Message | None = None
        body = b""

        async def rendered(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start" and Headers(raw=message["headers"]).get("content-type", "").startswith(MEDIA_TYPE):
                start = message
                return
            if start is None:
                await send(message)
                return
            body += message.get("body", b"")
            if message.get("more_body", False) and len(body) < MAX_PROBLEM_BYTES:
                return
            page = _page(Request(scope), start, body)
            found, start = start, None
            await send(found)
            await send({"type": "http.response.body", "body": page})

        await self._app(scope, receive, rendered)


def _wants_page(headers: Headers) -> bool:
    """Return whether a browser asks, or htmx, which accepts anything."""
    return HTMX in headers or prefers_html(headers.get("accept", ""))


def _page(request: Request, start: Message, body: bytes) -> bytes:
    """Return the page of a problem, and make the message's headers a page's."""
    found = MutableHeaders(scope=start)
    problem = Problem.model_validate_json(gzip.decompress(body) if found.get("content-encoding") == "gzip" else body)
    status = start["status"]
    asks_key = status == HTTPStatus.UNAUTHORIZED
    template = "_problem.html" if is_fragment(request) else "sign_in.html" if asks_key else "problem.html"
    to = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    values = {"problem": problem, "to": to, "login": f"/v1/session/login?next={quote(to, safe='')}"}
    page = environment().get_template(template).render(**shared(request), **values).encode()
    own = headers(form_action="'none'")
    # No form is on it: it tells other sites, and this one, as little as every other answer.
    del own["Referrer-Policy"]
    for name, value in own.items():
        found[name] = value
    if is_fragment(request):
        found.update(RELOAD if asks_key else PLACE)
    del found["content-encoding"]
    found["content-type"], found["content-length"] = "text/html; charset=utf-8", str(len(page))
    return page
