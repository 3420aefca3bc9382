"""The two drivers of the client: requests and waits, blocking or on an event loop."""

import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, Protocol, TypeVar

import httpx
from httpx_sse import EventSource, ServerSentEvent

T = TypeVar("T")


class Wire(Protocol):
    """What the client's operations need of a driver."""

    async def send(self, request: httpx.Request) -> httpx.Response: ...
    async def open(self, request: httpx.Request) -> httpx.Response:
        """Send a request, and return the response before its body is read."""

    async def read(self, response: httpx.Response) -> bytes: ...
    def events(self, response: httpx.Response) -> AsyncIterator[ServerSentEvent]: ...
    def chunks(self, response: httpx.Response) -> AsyncIterator[bytes]: ...
    def body(self, blocks: Iterator[bytes]) -> Any:
        """Return blocks as httpx takes them for a request's body."""

    async def release(self, response: httpx.Response) -> None: ...
    async def sleep(self, seconds: float) -> None: ...
    async def close(self) -> None: ...


class BlockingWire:
    """A driver whose coroutines never wait for an event loop: `run` runs them."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    async def send(self, request: httpx.Request) -> httpx.Response:
        return self._http.send(request)

    async def open(self, request: httpx.Request) -> httpx.Response:
        return self._http.send(request, stream=True)

    async def read(self, response: httpx.Response) -> bytes:
        return response.read()

    async def events(self, response: httpx.Response) -> AsyncIterator[ServerSentEvent]:
        for event in EventSource(response).iter_sse():
            yield event

    async def chunks(self, response: httpx.Response) -> AsyncIterator[bytes]:
        for chunk in response.iter_bytes():
            yield chunk

    def body(self, blocks: Iterator[bytes]) -> Any:
        return blocks

    async def release(self, response: httpx.Response) -> None:
        response.close()

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def close(self) -> None:
        self._http.close()


class AsyncWire:
    """A driver on an event loop."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def send(self, request: httpx.Request) -> httpx.Response:
        return await self._http.send(request)

    async def open(self, request: httpx.Request) -> httpx.Response:
        return await self._http.send(request, stream=True)

    async def read(self, response: httpx.Response) -> bytes:
        return await response.aread()

    async def events(self, response: httpx.Response) -> AsyncIterator[ServerSentEvent]:
        async for event in EventSource(response).aiter_sse():
            yield event

    async def chunks(self, response: httpx.Response) -> AsyncIterator[bytes]:
        async for chunk in response.aiter_bytes():
            yield chunk

    async def body(self, blocks: Iterator[bytes]) -> AsyncIterator[bytes]:
        from anyio.to_thread import run_sync

        while (block := await run_sync(next, blocks, None)) is not None:
            yield block

    async def release(self, response: httpx.Response) -> None:
        await response.aclose()

    async def sleep(self, seconds: float) -> None:
        # Imported on use: httpx brings it, and a blocking client never needs it.
        import anyio

        await anyio.sleep(seconds)

    async def close(self) -> None:
        await self._http.aclose()


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine of a BlockingWire to its end."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        coroutine.close()
    raise RuntimeError("a coroutine of the blocking client waited for an event loop")
