"""A hostile HTTP endpoint on loopback: what it was sent is kept, and what it answers is written byte by byte."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Hostile:
    """`heads` and `bodies` of the requests that came, and how many bytes went out."""

    port: int = 0
    heads: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"


@asynccontextmanager
async def hostile(answer: Answer) -> AsyncIterator[Hostile]:
    """A server in this loop that reads a request and lets `answer` write whatever it likes."""
    found = Hostile()
    running: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            length = next((int(line.split(":")[1]) for line in head.splitlines() if line.lower().startswith("content-length:")), 0)
            found.heads.append(head)
            found.bodies.append(await reader.readexactly(length))
            await answer(writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
        for task in running:
            if task is not None:
                task.cancel()
        await asyncio.gather(*(task for task in running if task is not None), return_exceptions=True)


def says(body: bytes, status: str = "200 OK", **headers: str) -> Answer:
    """One whole response."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        lines = {"content-length": str(len(body)), "connection": "close"} | {name.replace("_", "-"): value for name, value in headers.items()}
        writer.write(f"HTTP/1.1 {status}\r\n".encode() + "".join(f"{name}: {value}\r\n" for name, value in lines.items()).encode("latin-1") + b"\r\n")
        writer.write(body)
        await writer.drain()

    return answer


def streams(part: bytes, pause: float = 0.0, **headers: str) -> Answer:
    """A response without an end: the same part again and again."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        lines = {name.replace("_", "-"): value for name, value in headers.items()}
        writer.write(
            b"HTTP/1.1 200 OK\r\nconnection: close\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items()).encode() + b"\r\n"
        )
        while True:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)

    return answer
