"""The scripted server with all that tests ask of an endpoint: completions, files, batches and lasting faults."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from aiohttp import web

from api.demo.fake_llm.endpoint import ScriptedEndpoint, rate_limited
from api.demo.fake_llm.replies import EMBEDDING_WIDTH, Maker, OpenAIError, chat_messages, most_tokens
from api.demo.fake_llm.server import ScriptedServer
from api.demo.fake_llm.texts import prompt_tokens, split
from tests.fakes.batches import Batches
from tests.fakes.completions import completion, prompts_of
from tests.fakes.lasting_faults import LastingFaults, lasting

# What a server that is strict about others takes, which need not say what it refuses.
KNOWN_FIELDS = frozenset({"model", "messages", "max_tokens", "temperature", "seed", "response_format", "logprobs", "top_logprobs"})


@dataclass(eq=False)
class FullServer(ScriptedServer):
    """`batch_seconds` is how long a batch stays in each state; `stop` and `start` keep files and batches."""

    batch_seconds: float = 0.05
    embedding_width: int = EMBEDDING_WIDTH
    is_key_revoked: bool = field(default=False, init=False)
    _bucket: float | None = field(default=None, init=False)
    _filled_at: float = field(default=0.0, init=False)

    makers: ClassVar[Mapping[str, Maker]] = {**ScriptedEndpoint.makers, "/v1/completions": completion}

    def __post_init__(self) -> None:
        self.batches = Batches(self)

    @property
    def lasting(self) -> LastingFaults:
        return lasting(self.faults)

    def revoke_key(self) -> None:
        """Answer every later request with 401."""
        self.is_key_revoked = True

    def restore_key(self) -> None:
        self.is_key_revoked = False

    def application(self) -> web.Application:
        found = super().application()
        found.on_startup.append(self.batches.resume)
        found.on_cleanup.append(self.batches.interrupt)
        return found

    def admit(self, request: web.Request, number: int) -> dict[str, str]:
        """Check key, quota and rate; return `x-ratelimit-*` headers, if any."""
        faults = self.lasting
        if faults.key_revoked_after is not None and number > faults.key_revoked_after:
            self.is_key_revoked = True
        if self.is_key_revoked:
            raise OpenAIError(401, "Incorrect API key provided.", "invalid_request_error", "invalid_api_key")
        super().admit(request, number)
        if faults.quota_after is not None and number > faults.quota_after:
            message = "You exceeded your current quota, please check your plan and billing details."
            raise OpenAIError(429, message, "insufficient_quota", "insufficient_quota")
        return self._check_rate(faults.requests_per_second) if faults.requests_per_second is not None else {}

    def _check_rate(self, rate: float) -> dict[str, str]:
        """Take a request from a token bucket of one second's size, filled at `rate`."""
        size, now = max(rate, 1.0), time.monotonic()
        self._bucket = size if self._bucket is None else min(size, self._bucket + (now - self._filled_at) * rate)
        self._filled_at = now
        wait = (1 - self._bucket) / rate
        headers = {
            "x-ratelimit-limit-requests": str(int(size)),
            "x-ratelimit-remaining-requests": str(int(max(self._bucket - 1, 0))),
            "x-ratelimit-reset-requests": f"{max(size - self._bucket, 0) / rate * 1000:.0f}ms",
        }
        if wait > 0:
            raise rate_limited(wait, headers)
        self._bucket -= 1
        return headers

    def drawn(self, path: str) -> str | None:
        at = self.lasting.at
        return super().drawn(path) if not at or path.startswith(at) else None

    async def routed(self, request: web.Request, number: int, fault: str | None) -> web.Response:
        kind = request.path.removeprefix("/v1/").partition("/")[0]
        if kind in self.lasting.lacks:
            raise OpenAIError(404, f"There is no {request.path} here.", "invalid_request_error", "not_found")
        return await self.batches.routed(request) if kind in ("files", "batches") else await super().routed(request, number, fault)

    def generated(self, path: str, body: dict[str, Any], number: int, fault: str | None) -> dict[str, Any]:
        faults = self.lasting
        if path == "/v1/embeddings":
            body = {"dimensions": self.embedding_width} | body
        else:
            _check_supported(faults.lacks, body)
            _check_context_window(faults.context_window, path, body)
        taken = body if "logprobs" not in faults.ignores else {name: value for name, value in body.items() if name != "logprobs"}
        if (body.get("response_format") or {}).get("type") in faults.ignores:
            taken = taken | {"response_format": {}}
        made = super().generated(path, taken, number, fault)
        return {name: value for name, value in made.items() if name != "usage" or "usage" not in faults.ignores}


def _check_supported(lacks: frozenset[str], body: dict[str, Any]) -> None:
    if "unknown fields" in lacks and set(body) - KNOWN_FIELDS:
        raise OpenAIError(422, "Extra inputs are not permitted", "invalid_request_error")
    kind = (body.get("response_format") or {}).get("type")
    if kind in lacks:
        what = f"Invalid parameter: 'response_format' of type '{kind}' is not supported with this model."
        raise OpenAIError(400, what, "invalid_request_error", None, "response_format")
    for name in ("max_tokens", "logprobs", "temperature", "seed", "echo", "prompt_cache_key"):
        if name in lacks and body.get(name) is not None and body[name] is not False:
            instead = " Use 'max_completion_tokens' instead." if name == "max_tokens" else ""
            what = f"Unsupported parameter: '{name}' is not supported with this model.{instead}"
            raise OpenAIError(400, what, "invalid_request_error", "unsupported_parameter", name)


def _check_context_window(window: int | None, path: str, body: dict[str, Any]) -> None:
    if window is None:
        return
    if path == "/v1/completions":
        prompt, room = sum(len(split(text)) for text in prompts_of(body)), int(body.get("max_tokens", 16))
    else:
        prompt, room = prompt_tokens([text for _, text in chat_messages(body)]), most_tokens(body)
    if prompt + room > window:
        what = (
            f"This model's maximum context length is {window} tokens. However, you requested {prompt + room} tokens ({prompt} in the messages, "
            f"{room} in the completion). Please reduce the length of the messages or completion."
        )
        raise OpenAIError(400, what, "invalid_request_error", "context_length_exceeded", "messages")
