"""The live transport: one question, one request, now."""

import json
from typing import TYPE_CHECKING, Literal

from interp.llm.call_store import CallStore
from interp.llm.transports.base import ChatRequest, TransportError, TransportReply
from interp.llm.transports.payloads import chat_body, read_chat, read_failed_generation, room_bytes
from interp.llm.transports.quirks import EndpointQuirks

if TYPE_CHECKING:
    from interp.llm.transports.openai_sdk import Endpoint

LESSONS = 8  # each knob of a dialect once, and no loop without end


class LiveTransport:
    """Chat over HTTP. Parameters that the endpoint does not know are put otherwise and asked again within the same attempt."""

    name: Literal["live"] = "live"

    def __init__(self, endpoint: "Endpoint", dialect: EndpointQuirks) -> None:
        self.endpoint, self.dialect = endpoint, dialect

    async def chat(self, request: ChatRequest, books: CallStore) -> TransportReply:  # noqa: ARG002
        for lesson in range(LESSONS + 1):
            body = chat_body(request, self.dialect)
            sent = json.dumps(body)
            try:
                response = await self.endpoint.post("/chat/completions", sent.encode(), request.spec.timeout_seconds, room_bytes(request))
            except TransportError as fault:
                answer = read_failed_generation(fault, request.bound, sent)
                if answer is not None:
                    return answer
                if lesson < LESSONS and self.dialect.learn(fault, request, body):
                    continue
                raise
            raw = self.endpoint.clean(response.body.decode("utf-8", "replace"))
            return read_chat(raw, request.bound, sent, response.headers)
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """The endpoint is the client's to close."""
