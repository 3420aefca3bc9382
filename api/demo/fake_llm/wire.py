"""Serve HTTP/1.1 on a socket, to drop connections and slow bodies as no framework can."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal, cast

import httptools

Delivery = Literal["whole", "dropped", "dropped_midway", "slow"]

STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
PIECES = 10


@dataclass(frozen=True, slots=True)
class ScriptedRequest:
    """A request; `path` has no query, names of headers are in lower case."""

    method: str
    path: str
    headers: dict[bytes, bytes]
    body: bytes


@dataclass(frozen=True, slots=True)
class ScriptedResponse:
    """A response; `delivery` says how much arrives, `seconds` how slowly."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"
    delivery: Delivery = "whole"
    seconds: float = 0.0

    def head(self, keep_alive: bool) -> bytes:
        lines = [f"content-type: {self.content_type}", f"content-length: {len(self.body)}", *(f"{name}: {value}" for name, value in self.headers)]
        if not keep_alive:
            lines.append("connection: close")
        return STATUS_LINES[self.status] + "\r\n".join(lines).encode() + b"\r\n\r\n"


Handler = Callable[[ScriptedRequest], Awaitable[ScriptedResponse]]


class ScriptedConnection(asyncio.Protocol):
    """A connection of one client, whose requests are answered in order."""

    transport: asyncio.Transport
    # Fields of the request that is being read.
    url: bytes
    headers: dict[bytes, bytes]
    chunks: list[bytes]

    def __init__(self, handler: Handler, open_connections: set["ScriptedConnection"]) -> None:
        self.handler, self.open = handler, open_connections
        self.parser = httptools.HttpRequestParser(self)
        self.waiting: deque[tuple[ScriptedRequest, bool]] = deque()
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's transports are no subclass
        self.open.add(self)

    def connection_lost(self, _: Exception | None) -> None:
        self.open.discard(self)
        if self.task:
            self.task.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.write(ScriptedResponse(400, b"").head(keep_alive=False))
            self.transport.close()

    def on_message_begin(self) -> None:
        self.url, self.headers, self.chunks = b"", {}, []

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        if self.headers.get(b"expect", b"").lower() == b"100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self.chunks.append(body)

    def on_message_complete(self) -> None:
        path = self.url.partition(b"?")[0].decode("latin-1")
        request = ScriptedRequest(self.parser.get_method().decode(), path, self.headers, b"".join(self.chunks))
        self.waiting.append((request, self.parser.should_keep_alive()))
        if self.task is None:
            self.task = asyncio.get_running_loop().create_task(self._serve())

    async def _serve(self) -> None:
        while self.waiting and not self.transport.is_closing():
            request, keep_alive = self.waiting.popleft()
            await self._deliver(await self.handler(request), keep_alive)
        self.task = None

    async def _deliver(self, response: ScriptedResponse, keep_alive: bool) -> None:
        if response.delivery == "dropped":
            self.transport.abort()
            return
        head = response.head(keep_alive)
        if response.delivery == "dropped_midway":
            self.transport.write(head + response.body[: len(response.body) // 2])
            self.transport.close()
            return
        if response.delivery == "slow":
            self.transport.write(head)
            await self._dribble(response)
        else:
            self.transport.write(head + response.body)
        if not keep_alive:
            self.transport.close()

    async def _dribble(self, response: ScriptedResponse) -> None:
        size = -(-len(response.body) // PIECES) or 1
        for start in range(0, len(response.body), size):
            await asyncio.sleep(response.seconds / PIECES)
            self.transport.write(response.body[start : start + size])
