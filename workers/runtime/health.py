"""Whether this worker process is alive, for orchestrators: `/healthz` on `health_port`, 200 as long as its pulse is felt.

The pulse is that of the thread that renews leases: where it stands still the process is stuck, or frozen, and its chunks go to others anyway.
A database or a broker that is away stops no pulse, since a restart would not bring it back.
"""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from interp.config.settings import Settings
from interp.observability import logs

log = logs.get_logger(__name__)


class Heartbeat:
    """When the process was last seen to move. For any thread."""

    def __init__(self) -> None:
        self._beaten = time.monotonic()

    def beat(self) -> None:
        self._beaten = time.monotonic()

    @property
    def age(self) -> float:
        """Seconds since the last beat."""
        return time.monotonic() - self._beaten


class _HealthHttpServer(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A probe that hung up before its answer came says so itself; all else is told as ever."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class HealthServer:
    """The server of `/healthz`, in a thread of its own. A port that is taken, as by another worker of this machine, is a warning and no more."""

    def __init__(self, pulse: Heartbeat, settings: Settings, name: str) -> None:
        self._pulse, self._limit, self._name = pulse, settings.lease_seconds, name
        self._server: _HealthHttpServer | None = None
        if settings.health_port is not None:
            self._listen(settings.health_port)

    @property
    def port(self) -> int | None:
        """Where it listens; None where it does not."""
        return None if self._server is None else int(self._server.server_address[1])

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def _listen(self, port: int) -> None:
        health = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = health.answer() if self.path == "/healthz" else (404, {"error": "only /healthz is here"})
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            def do_HEAD(self) -> None:
                self.do_GET()

            def log_message(self, *_arguments: object) -> None:
                """Nobody reads of every probe."""

        try:
            self._server = _HealthHttpServer(("", port), Handler)
        except OSError as error:
            log.warning("no /healthz: the port cannot be listened on", port=port, why=str(error))
            return
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()
        log.info("answering /healthz", port=self.port)

    def answer(self) -> tuple[int, dict[str, object]]:
        """The status and the body of an answer."""
        age = self._pulse.age
        is_alive = age < self._limit
        return 200 if is_alive else 503, {"status": "ok" if is_alive else "stuck", "worker": self._name, "silent_seconds": round(age, 1)}
