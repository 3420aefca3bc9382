"""Requests straight to an ASGI app, without a socket."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from anyio.from_thread import start_blocking_portal
from starlette.types import ASGIApp

from glossator import Client


class InProcess(httpx.BaseTransport):
    """A transport to an ASGI app whose event loop runs in a thread of its own. Answers come whole: not for event streams."""

    def __init__(self, app: ASGIApp) -> None:
        self._asgi = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        self._portal = start_blocking_portal()
        self._call = self._portal.__enter__()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._call.call(self._answer, request)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        body = request.read()
        headers = httpx.Headers(request.headers)
        headers["Accept-Encoding"] = "identity"
        if headers.get("Host") == request.url.netloc.decode("ascii"):
            # The app goes by the names of this machine, whatever its URL is called here.
            headers["Host"] = "localhost"
        asked = httpx.Request(request.method, request.url, headers=headers, content=body)
        response = await self._asgi.handle_async_request(asked)
        content = await response.aread()
        return httpx.Response(response.status_code, headers=response.headers, content=content)

    def close(self) -> None:
        self._portal.__exit__(None, None, None)


@contextmanager
def in_process(app: ASGIApp) -> Iterator[Client]:
    """A client of an app in this process."""
    with Client("http://in-process", InProcess(app)) as client:
        yield client
