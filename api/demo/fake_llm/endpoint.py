"""Answer the requests of a scripted endpoint, with faults, and count their costs."""

import asyncio
import json
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from aiohttp import web

from api.demo.fake_llm.faults import Faults
from api.demo.fake_llm.readers import QuotedReader
from api.demo.fake_llm.replies import Maker, OpenAIError, chat, embeddings, json_response

DEFAULT_MODELS = ("scripted", "scripted-judge", "scripted-embedding")
BODIES_KEPT = 256
PIECES = 10


@dataclass(slots=True)
class CallTotals:
    """Counts of requests and bills, written by the server's thread alone.

    A call is billed once its answer is made, even if that does not arrive: dropped, stalled and truncated replies are billed, 4xx and 5xx are not.
    `prompt_tokens` and `completion_tokens` are the true ones, whatever the reply says.
    """

    requests: int = 0
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    in_flight: int = 0
    max_in_flight: int = 0
    by_path: Counter[str] = field(default_factory=Counter)
    calls_by_path: Counter[str] = field(default_factory=Counter)
    by_status: Counter[int] = field(default_factory=Counter)
    by_fault: Counter[str] = field(default_factory=Counter)
    by_task: Counter[str] = field(default_factory=Counter)
    bodies: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=BODIES_KEPT))

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(eq=False)
class ScriptedEndpoint:
    """The replies of one endpoint, used on one event loop.

    `faults` and `reader` may be changed at any time. No key is checked if `key` is empty; any model is known if `models` is empty.
    """

    reader: QuotedReader = field(default_factory=QuotedReader)
    faults: Faults = field(default_factory=Faults)
    latency_seconds: float = 0.0
    key: str = ""
    models: tuple[str, ...] = DEFAULT_MODELS
    seed: int = 0
    totals: CallTotals = field(default_factory=CallTotals, init=False)
    # Admitted requests, and equal questions by their key.
    admitted: int = field(default=0, init=False)
    asked: Counter[str] = field(default_factory=Counter, init=False)

    makers: ClassVar[Mapping[str, Maker]] = {"/v1/chat/completions": chat, "/v1/embeddings": embeddings}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request after the latency, with the drawn fault."""
        totals = self.totals
        totals.requests += 1
        totals.by_path[request.path] += 1
        totals.in_flight += 1
        totals.max_in_flight = max(totals.max_in_flight, totals.in_flight)
        try:
            response, fault = await self._answered(request, totals.requests)
        finally:
            totals.in_flight -= 1
        totals.by_status[response.status] += 1
        return await self._in_part(request, response, fault) if fault in ("dropped", "dropped_midway", "slow") else response

    async def _answered(self, request: web.Request, number: int) -> tuple[web.Response, str | None]:
        """Return the whole response, and the fault that its delivery has."""
        headers = {"x-request-id": f"req_{number}"}
        await asyncio.sleep(self.latency_seconds)
        try:
            headers |= self.admit(request, number)
            fault = self.drawn(request.path)
            if fault in ("rate_limited", "rate_limited_silently"):
                raise rate_limited(self.faults.retry_after_seconds if fault == "rate_limited" else None)
            if fault == "server_error":
                raise OpenAIError(500, "The server had an error while processing your request. Sorry about that!", "server_error")
            response = await self.routed(request, number, fault)
        except OpenAIError as error:
            fault, response = None, error.response()
        if fault == "stalled":
            await asyncio.sleep(self.faults.stall_seconds)
        if fault == "truncated_body":
            whole = response.body
            assert isinstance(whole, bytes)
            response.body = whole[: len(whole) // 2]
        response.headers.update(headers)
        return response, fault

    async def _in_part(self, request: web.Request, response: web.Response, fault: str | None) -> web.StreamResponse:
        """Deliver nothing, half of the body, or all of it in slow pieces."""
        body, transport = response.body, request.transport
        assert isinstance(body, bytes) and transport is not None
        if fault == "dropped":
            transport.abort()
            return response
        sent = web.StreamResponse(status=response.status, headers=response.headers)
        sent.content_length = len(body)
        await sent.prepare(request)
        if fault == "dropped_midway":
            await sent.write(body[: len(body) // 2])
            transport.close()
            return sent
        size = -(-len(body) // PIECES) or 1
        for start in range(0, len(body), size):
            await asyncio.sleep(self.faults.slow_seconds / PIECES)
            await sent.write(body[start : start + size])
        return sent

    def admit(self, request: web.Request, number: int) -> dict[str, str]:
        """Check the key of the `number`th request; return more headers of the response; raises OpenAIError."""
        del number
        if self.key and request.headers.get("authorization", "").removeprefix("Bearer ") != self.key:
            raise OpenAIError(401, "Incorrect API key provided.", "invalid_request_error", "invalid_api_key")
        return {}

    def drawn(self, path: str) -> str | None:
        """Draw the fault of an admitted request, so that shares are of admitted requests."""
        del path
        self.admitted += 1
        fault = self.faults.drawn(self.seed, self.admitted)
        if fault:
            self.totals.by_fault[fault] += 1
        return fault

    async def routed(self, request: web.Request, number: int, fault: str | None) -> web.Response:
        """Return the response of the request's path; raises OpenAIError."""
        path = request.path
        if path in self.makers and request.method == "POST":
            body = _parsed(await request.read())
            self.totals.bodies.append(body)
            return json_response(200, self.generated(path, body, number, fault))
        if path.startswith("/v1/models") and request.method == "GET":
            return json_response(200, self._listed(path.removeprefix("/v1/models").strip("/")))
        raise OpenAIError(404, f"Unknown request URL: {request.method} {path}.", "invalid_request_error", "unknown_url")

    def generated(self, path: str, body: dict[str, Any], number: int, fault: str | None) -> dict[str, Any]:
        """Return the body of a reply, billed; raises OpenAIError."""
        name = body.get("model")
        if self.models and name not in self.models:
            raise OpenAIError(404, f"The model `{name}` does not exist or you do not have access to it.", "invalid_request_error", "model_not_found")
        made, totals = self.makers[path](self.reader, self.asked, body, number, fault), self.totals
        totals.calls += 1
        totals.calls_by_path[path] += 1
        totals.prompt_tokens += made.prompt_tokens
        totals.completion_tokens += made.completion_tokens
        totals.by_task[made.task] += 1
        return made.body

    def _listed(self, name: str) -> dict[str, Any]:
        """Return all models, or one."""
        entries = {model: {"id": model, "object": "model", "created": 1, "owned_by": "glossator"} for model in self.models or DEFAULT_MODELS}
        if name and name not in entries:
            raise OpenAIError(404, f"The model '{name}' does not exist.", "invalid_request_error", "model_not_found")
        return entries[name] if name else {"object": "list", "data": list(entries.values())}


def rate_limited(seconds: float | None, headers: Mapping[str, str] | None = None) -> OpenAIError:
    """Return a 429 with a pause of `seconds`, or with none."""
    after = {} if seconds is None else {"retry-after": f"{seconds:.3f}", "retry-after-ms": f"{seconds * 1000:.0f}"}
    message = "Rate limit reached for requests. Please try again later."
    return OpenAIError(429, message, "requests", "rate_limit_exceeded", headers={**(headers or {}), **after})


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError as error:
        raise OpenAIError(400, f"We could not parse the JSON body of your request: {error}.", "invalid_request_error") from error
    if not isinstance(found, dict):
        raise OpenAIError(400, "The body of a request is a JSON object.", "invalid_request_error")
    return found
