"""Serve a scripted endpoint on a socket, in a thread or in another process."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self
from urllib.request import urlopen

from api.demo.fake_llm.endpoint import ScriptedEndpoint
from api.demo.fake_llm.faults import Faults
from api.demo.fake_llm.readers import QuotedReader, ScriptedReader
from api.demo.fake_llm.state import DEFAULT_MODELS, CallTotals, EndpointState, Options
from api.demo.fake_llm.wire import ScriptedConnection

BACKLOG = 2048
STOP_SECONDS = 10.0


def event_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return uvloop's factory of event loops, twice as fast, or asyncio's."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


class ScriptedServer:
    """An OpenAI-shaped server with known answers, faults and bill.

        with ScriptedServer(faults=Faults.mixed(0.3)) as server:
            ask(server.base_url)
        server.totals.tokens

    `state.faults` and `state.reader` may be changed while it runs. `stop` and `start` keep the port, totals, files and batches.
    No key is checked if `key` is empty; any model is known if `models` is empty.
    """

    def __init__(
        self,
        reader: ScriptedReader | None = None,
        faults: Faults | None = None,
        latency_seconds: float = 0.0,
        key: str = "",
        models: tuple[str, ...] = DEFAULT_MODELS,
        seed: int = 0,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        embedding_width: int = 256,
        batch_seconds: float = 0.05,
    ) -> None:
        options = Options(latency_seconds, key, models, seed, embedding_width, batch_seconds)
        self._endpoint = ScriptedEndpoint(EndpointState(reader or QuotedReader(), faults or Faults(), options))
        self._host, self._port = host, port
        self._thread: threading.Thread | None = None
        self._stop: Callable[[], object] = lambda: None
        self._failure: OSError | None = None

    @property
    def base_url(self) -> str:
        return f"http://{self._host}:{self._port}/v1"

    @property
    def totals(self) -> CallTotals:
        return self._endpoint.state.totals

    @property
    def state(self) -> EndpointState:
        """Return the state, whose `faults` and `reader` may be changed while it runs."""
        return self._endpoint.state

    def revoke_key(self) -> None:
        """Answer every later request with 401."""
        self._endpoint.is_key_revoked = True

    def restore_key(self) -> None:
        self._endpoint.is_key_revoked = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Return once the server listens; raises OSError if the port is taken."""
        ready = threading.Event()
        self._failure = None
        self._thread = threading.Thread(target=self._run, args=(ready,), name="scripted-server", daemon=True)
        self._thread.start()
        ready.wait()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Close all connections; running batches continue after `start`, finished ones stay readable."""
        self._stop()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)
            self._thread = None

    def _run(self, ready: threading.Event) -> None:
        with asyncio.Runner(loop_factory=event_loop()) as runner:
            try:
                runner.run(self._serve(ready))
            except OSError as error:
                self._failure = error
                ready.set()

    async def _serve(self, ready: threading.Event) -> None:
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        connections: set[ScriptedConnection] = set()
        server = await loop.create_server(lambda: ScriptedConnection(self._endpoint.handle, connections), self._host, self._port, backlog=BACKLOG)
        self._port = server.sockets[0].getsockname()[1]
        self._stop = lambda: loop.call_soon_threadsafe(ended.set)
        self._endpoint.batches.resume()
        ready.set()
        await ended.wait()
        self._stop = lambda: None
        server.close()
        for connection in list(connections):
            connection.transport.abort()


class ScriptedProcess:
    """The server in another process, for benchmarks; `arguments` are those of `glossator fake-llm`."""

    def __init__(self, *arguments: str) -> None:
        self.arguments = arguments

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "api.demo.fake_llm", "--port", "0", *self.arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(command)} ended with status {self.process.wait()} before it listened")
        self.base_url = line.split()[-1]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.process.terminate()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def totals(self) -> dict[str, Any]:
        """Return the present `CallTotals.as_json`."""
        with urlopen(self.base_url.removesuffix("/v1") + "/scripted/totals") as reply:
            found: dict[str, Any] = json.load(reply)
        return found
