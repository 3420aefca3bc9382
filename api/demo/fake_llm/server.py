"""Serve a scripted endpoint on a socket, in a thread."""

import asyncio
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import uvloop
from aiohttp import web

from api.demo.fake_llm.endpoint import ScriptedEndpoint

BACKLOG = 2048
MOST_BYTES = 256 * 2**20
T = TypeVar("T")


@dataclass(eq=False)
class ScriptedServer(ScriptedEndpoint):
    """An OpenAI-shaped server with known answers, faults and bill.

        with ScriptedServer(faults=Faults.mixed(0.3)) as server:
            ask(server.base_url)
        server.totals.tokens

    `stop` and `start` keep the port and the totals.
    """

    host: str = "127.0.0.1"
    port: int = 0
    _runner: web.AppRunner = field(init=False)
    _loop: asyncio.AbstractEventLoop = field(init=False)
    _thread: threading.Thread | None = field(default=None, init=False)

    @property
    def base_url(self) -> str:
        return f"http://{self.host}:{self.port}/v1"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Return once the server listens; raises OSError if the port is taken."""
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="scripted-server", daemon=True)
        self._thread.start()
        self._runner = web.AppRunner(self.application(), access_log=None, handler_cancellation=True, shutdown_timeout=0)
        try:
            self._run(self._listen())
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Close all connections."""
        if self._thread is not None:
            self._run(self._runner.cleanup())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            self._thread = None

    def application(self) -> web.Application:
        """Return the application, which gives every request to `handle`."""
        found = web.Application(client_max_size=MOST_BYTES)
        found.router.add_route("*", "/{path:.*}", self.handle)
        return found

    async def _listen(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, self.host, self.port, backlog=BACKLOG).start()
        self.port = self._runner.addresses[0][1]

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
