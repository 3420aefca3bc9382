"""Answer the requests of a scripted endpoint, and count their costs."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from api.demo.fake_llm import openai_batches, openai_replies
from api.demo.fake_llm.faults import OF_TRANSPORT, Faults
from api.demo.fake_llm.openai_replies import OpenAIError
from api.demo.fake_llm.state import DEFAULT_MODELS, EndpointState
from api.demo.fake_llm.wire import Delivery, ScriptedRequest, ScriptedResponse

CONTROL_PATHS = frozenset({"/scripted/totals", "/scripted/faults"})
GENERATING = {
    "/v1/chat/completions": openai_replies.chat,
    "/v1/completions": openai_replies.completion,
    "/v1/embeddings": openai_replies.embeddings,
}
DELIVERIES: dict[str, Delivery] = {"dropped": "dropped", "dropped_midway": "dropped_midway", "slow": "slow"}


class ScriptedEndpoint:
    """The replies of one endpoint, used on one event loop."""

    def __init__(self, state: EndpointState) -> None:
        self.state = state
        self.is_key_revoked = False
        self.batches = openai_batches.Batches(state, self.drawn, lambda path, body, fault: self.generated(path, body, self.numbers, fault))
        self.numbers = 0
        self._bucket: float | None = None
        self._filled_at = 0.0

    async def handle(self, request: ScriptedRequest) -> ScriptedResponse:
        """Return the reply to a request, after the latency, with the drawn fault."""
        if request.path in CONTROL_PATHS:
            return self._own(request)
        totals = self.state.totals
        totals.requests += 1
        totals.by_path[request.path] += 1
        totals.in_flight += 1
        totals.max_in_flight = max(totals.max_in_flight, totals.in_flight)
        try:
            response = await self._answered(request, totals.requests)
        finally:
            totals.in_flight -= 1
        totals.by_status[response.status] += 1
        return response

    async def _answered(self, request: ScriptedRequest, number: int) -> ScriptedResponse:
        limits: tuple[tuple[str, str], ...] = ()
        if self.state.options.latency_seconds:
            await asyncio.sleep(self.state.options.latency_seconds)
        try:
            limits = self._admit(request, number)
            fault = self.drawn(request.path)
            if fault in ("rate_limited", "rate_limited_silently"):
                raise _rate_limited(self.state.faults.retry_after_seconds if fault == "rate_limited" else None)
            if fault == "server_error":
                raise OpenAIError(500, "The server had an error while processing your request. Sorry about that!", "server_error")
            found = self._routed(request, number, None if fault in OF_TRANSPORT else fault)
            response = found if isinstance(found, ScriptedResponse) else openai_replies.as_response(found)
        except OpenAIError as error:
            fault, response = None, error.response()
        if fault == "stalled":
            await asyncio.sleep(self.state.faults.stall_seconds)
        if fault == "truncated_body":
            response = replace(response, body=response.body[: len(response.body) // 2])
        if fault in DELIVERIES:
            response = replace(response, delivery=DELIVERIES[fault], seconds=self.state.faults.slow_seconds)
        return replace(response, headers=(*response.headers, *limits, ("x-request-id", f"req_{number}")))

    def drawn(self, path: str) -> str | None:
        """Draw the fault of an admitted request, so that shares are of admitted requests."""
        if self.state.faults.at and not path.startswith(self.state.faults.at):
            return None
        self.numbers += 1
        fault = self.state.faults.drawn(self.state.options.seed, self.numbers)
        if fault:
            self.state.totals.by_fault[fault] += 1
        return fault

    def _admit(self, request: ScriptedRequest, number: int) -> tuple[tuple[str, str], ...]:
        """Check key, quota and rate; return `x-ratelimit-*` headers, if any; raises OpenAIError."""
        faults = self.state.faults
        if faults.key_revoked_after is not None and number > faults.key_revoked_after:
            self.is_key_revoked = True
        sent = request.headers.get(b"authorization", b"").decode("latin-1").removeprefix("Bearer ")
        if self.is_key_revoked or (self.state.options.key and sent != self.state.options.key):
            raise OpenAIError(401, "Incorrect API key provided.", "invalid_request_error", "invalid_api_key")
        if faults.quota_after is not None and number > faults.quota_after:
            raise OpenAIError(
                429, "You exceeded your current quota, please check your plan and billing details.", "insufficient_quota", "insufficient_quota"
            )
        return self._check_rate(faults.requests_per_second) if faults.requests_per_second is not None else ()

    def _check_rate(self, rate: float) -> tuple[tuple[str, str], ...]:
        """Take a request from a token bucket of one second's size, filled at `rate`."""
        size, now = max(rate, 1.0), time.monotonic()
        self._bucket = size if self._bucket is None else min(size, self._bucket + (now - self._filled_at) * rate)
        self._filled_at = now
        wait = (1 - self._bucket) / rate
        reset = max(size - self._bucket, 0) / rate
        headers = (
            ("x-ratelimit-limit-requests", str(int(size))),
            ("x-ratelimit-remaining-requests", str(int(max(self._bucket - 1, 0)))),
            ("x-ratelimit-reset-requests", f"{reset * 1000:.0f}ms"),
        )
        if wait > 0:
            raise _rate_limited(wait, headers)
        self._bucket -= 1
        return headers

    def _routed(self, request: ScriptedRequest, number: int, fault: str | None) -> dict[str, Any] | ScriptedResponse:
        path, lacks = request.path, self.state.faults.lacks
        kind = path.removeprefix("/v1/").partition("/")[0]
        if kind in lacks:
            raise OpenAIError(404, f"There is no {path} here.", "invalid_request_error", "not_found")
        if path in GENERATING and request.method == "POST":
            body = openai_replies.parsed(request.body)
            self.state.totals.bodies.append(body)
            return self.generated(path, body, number, fault)
        if kind == "models" and request.method == "GET":
            return self._models(path.removeprefix("/v1/models").strip("/"))
        if kind in ("files", "batches"):
            return self.batches.routed(request)
        raise OpenAIError(404, f"Unknown request URL: {request.method} {path}.", "invalid_request_error", "unknown_url")

    def generated(self, path: str, body: dict[str, Any], number: int, fault: str | None) -> dict[str, Any]:
        """Return the body of a reply, billed; raises OpenAIError."""
        if self.state.options.models and body.get("model") not in self.state.options.models:
            name = body.get("model")
            raise OpenAIError(404, f"The model `{name}` does not exist or you do not have access to it.", "invalid_request_error", "model_not_found")
        make: Callable[..., openai_replies.ScriptedReply] = GENERATING[path]
        made = make(self.state, body, number, fault)
        self.state.totals.bill(path, made.prompt_tokens, made.completion_tokens)
        if made.task:
            self.state.totals.by_task[made.task] += 1
        return made.body

    def _models(self, name: str) -> dict[str, Any]:
        entries = [{"id": model, "object": "model", "created": 1, "owned_by": "glossator"} for model in self.state.options.models or DEFAULT_MODELS]
        if not name:
            return {"object": "list", "data": entries}
        found = next((entry for entry in entries if entry["id"] == name), None)
        if found is None:
            raise OpenAIError(404, f"The model '{name}' does not exist.", "invalid_request_error", "model_not_found")
        return found

    def _own(self, request: ScriptedRequest) -> ScriptedResponse:
        """Return the totals, or set faults given as `{"rate_limited": 0.1}`, for tests and benchmarks."""
        if request.path == "/scripted/faults" and request.method == "POST":
            orders: dict[str, Any] = openai_replies.parsed(request.body)
            self.state.faults = Faults(
                **(orders | {name: frozenset(orders[name]) for name in ("lacks", "ignores") if name in orders} | {"at": tuple(orders.get("at", ()))})
            )
        return ScriptedResponse(200, json.dumps(self.state.totals.as_json()).encode())


def _rate_limited(seconds: float | None, headers: tuple[tuple[str, str], ...] = ()) -> OpenAIError:
    after = () if seconds is None else (("retry-after", f"{seconds:.3f}"), ("retry-after-ms", f"{seconds * 1000:.0f}"))
    return OpenAIError(429, "Rate limit reached for requests. Please try again later.", "requests", "rate_limit_exceeded", headers=(*headers, *after))
