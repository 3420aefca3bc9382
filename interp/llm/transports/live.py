"""Send each question as one request."""

import json
from typing import Literal

from interp.llm.base import Reply
from interp.llm.call_store import CallStore
from interp.llm.transports.base import BatchEndpoint, ChatRequest, TransportError
from interp.llm.transports.payloads import chat_body, extra_bytes_of, read_chat, read_failed_generation
from interp.llm.transports.quirks import MAX_LESSONS, EndpointQuirks


class LiveTransport:
    """Chat over HTTP, with rejected parameters rewritten and resent within the same attempt."""

    name: Literal["live"] = "live"

    def __init__(self, endpoint: BatchEndpoint, quirks: EndpointQuirks) -> None:
        self.endpoint, self.quirks = endpoint, quirks

    async def chat(self, request: ChatRequest, call_store: CallStore) -> Reply:  # noqa: ARG002
        for lesson in range(MAX_LESSONS + 1):
            body = chat_body(request, self.quirks)
            sent = json.dumps(body)
            try:
                response = await self.endpoint.post("/chat/completions", sent.encode(), request.spec.timeout_seconds, extra_bytes_of(request))
            except TransportError as fault:
                answer = read_failed_generation(fault, request.bound, sent)
                if answer is not None:
                    return answer
                if lesson < MAX_LESSONS and self.quirks.learn(fault, request, body):
                    continue
                raise
            raw = self.endpoint.clean(response.body.decode("utf-8", "replace"))
            return read_chat(raw, request.bound, sent, response.headers)
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """Do nothing: the client closes the endpoint."""
