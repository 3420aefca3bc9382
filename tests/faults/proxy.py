"""A network that can be cut: a TCP proxy between the service's processes and their database."""

import asyncio
import threading
from enum import Enum
from typing import Self

import uvloop

CHUNK_BYTES = 65536


class Network(Enum):
    """WHOLE passes everything on. BROKEN ends every connection and refuses new ones. SILENT takes connections and bytes, and says nothing."""

    WHOLE = "whole"
    BROKEN = "broken"
    SILENT = "silent"


class Proxy:
    """Listens on `port` of loopback and passes on to another port, from a thread of its own. A context manager.

    A silent network keeps what it was given, and delivers it when it is whole again: a client can tell nothing but that no answer comes.
    """

    def __init__(self, to: int) -> None:
        self._to = to
        self.port = 0
        self._network = Network.WHOLE
        self._pipes: set[asyncio.StreamWriter] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()

    @property
    def network(self) -> Network:
        return self._network

    @network.setter
    def network(self, network: Network) -> None:
        self._network = network
        self._loop.call_soon_threadsafe(self._heed)

    def _heed(self) -> None:
        (self._open.clear if self._network is Network.SILENT else self._open.set)()
        if self._network is Network.BROKEN:
            self._drop_all()

    def _drop_all(self) -> None:
        for pipe in list(self._pipes):
            pipe.transport.abort()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._closing, self._open = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        self._open.set()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._closing.wait()
        server.close()
        self._drop_all()

    async def _connected(self, near_in: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        self._pipes.add(near_out)
        far_out: asyncio.StreamWriter | None = None
        try:
            await self._open.wait()
            if self._network is Network.BROKEN:
                return
            far_in, far_out = await asyncio.open_connection("127.0.0.1", self._to)
            self._pipes.add(far_out)
            ways = [asyncio.ensure_future(self._pass_on(near_in, far_out)), asyncio.ensure_future(self._pass_on(far_in, near_out))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
        except OSError:
            pass  # the database is away: so is this end
        finally:
            for end in (near_out, far_out):
                if end is not None:
                    self._pipes.discard(end)
                    end.transport.abort()

    async def _pass_on(self, source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(CHUNK_BYTES):
                await self._open.wait()
                to.write(data)
                await to.drain()
        except OSError:
            return
