"""Assign ids to requests, measure their durations and log them."""

import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.edge.client_address import address_of
from api.http.metrics import Metrics
from interp.observability import logs

log = logs.get_logger(__name__)

REQUEST_ID = "X-Request-ID"
# The name of the id in a request's state.
IDENTIFIER = "request_id"
GIVEN_ID = re.compile(r"[\w.:/+=-]{1,128}")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Clients and orchestrators repeat these requests, so they are logged at debug level.
READING = frozenset({"GET", "HEAD", "OPTIONS"})

# The status, in the log alone, of a client that went away.
GONE = 499


class RequestLog:
    """Middleware that measures and logs requests by id (the caller's `X-Request-ID` if valid)."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(REQUEST_ID, "")
        request_id = given if GIVEN_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})[IDENTIFIER] = request_id
        began = time.perf_counter()
        status, is_stream, is_answered = 500, False, False

        async def with_id(message: Message) -> None:
            nonlocal status, is_stream, is_answered
            if message["type"] == "http.response.start":
                is_answered = True
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID] = request_id
                status, is_stream = message["status"], headers.get("content-type", "").startswith("text/event-stream")
            await send(message)

        with logs.bound(request=request_id):
            try:
                await self._app(scope, receive, with_id)
                # Without an answer and an error the client went away before its request was read.
                status = status if is_answered else GONE
            finally:
                self._log(scope, status, time.perf_counter() - began, is_stream)

    def _log(self, scope: Scope, status: int, seconds: float, is_stream: bool) -> None:
        method = scope["method"] if scope["method"] in METHODS else "other"
        if not is_stream:
            self._metrics.answered(method, getattr(scope.get("route"), "path", "none"), status, seconds)
        level = "error" if status >= 500 else "debug" if method in READING else "info"
        ids = {"job": scope["path_params"]["job_id"]} if "job_id" in scope.get("path_params", {}) else {}
        getattr(log, level)("request", method=method, path=scope["path"], status=status, client=address_of(scope), seconds=round(seconds, 4), **ids)
