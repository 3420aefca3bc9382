"""What is known of every request: its id, how long it took, and a line in the log."""

import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.metrics import Metrics
from interp.observability import logs

log = logs.get_logger(__name__)

REQUEST_ID = "X-Request-ID"
GIVEN_ID = re.compile(r"[\w.:/+=-]{1,128}")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# What clients and orchestrators ask again and again is no news.
READING = frozenset({"GET", "HEAD", "OPTIONS"})


class Requests:
    """Names each request (by the caller's `X-Request-ID`, if it has one), answers with that name, measures, and logs."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(REQUEST_ID, "")
        name = given if GIVEN_ID.fullmatch(given) else uuid.uuid4().hex
        began = time.perf_counter()
        status, is_stream = 500, False

        async def named(message: Message) -> None:
            nonlocal status, is_stream
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID] = name
                status, is_stream = message["status"], headers.get("content-type", "").startswith("text/event-stream")
            await send(message)

        with logs.bound(request=name):
            try:
                await self._app(scope, receive, named)
            finally:
                self._tell(scope, status, time.perf_counter() - began, is_stream)

    def _tell(self, scope: Scope, status: int, seconds: float, is_stream: bool) -> None:
        method = scope["method"] if scope["method"] in METHODS else "other"
        if not is_stream:
            self._metrics.answered(method, getattr(scope.get("route"), "path", "none"), status, seconds)
        level = "error" if status >= 500 else "debug" if method in READING else "info"
        ids = {"job": scope["path_params"]["job_id"]} if "job_id" in scope.get("path_params", {}) else {}
        getattr(log, level)("request", method=method, path=scope["path"], status=status, seconds=round(seconds, 4), **ids)
