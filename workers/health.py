"""Serve `/healthz` of a worker process on `health_port`, for orchestrators.

It is 200 while the thread that renews leases makes its passes. Where that thread stops, the process is stuck or frozen, and other workers take its
chunks anyway. An unreachable database or broker does not stop it, since a restart would not help.
"""

import json
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from interp.config.settings import Settings
from interp.observability import logs

log = logs.get_logger(__name__)


class _HealthHttpServer(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a probe that closed its connection before the answer; print any other error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class HealthServer:
    """A `/healthz` server in a thread; a taken port is only a warning.

    `silent_seconds` returns the seconds since the last pass; more than `lease_seconds` means stuck.
    """

    def __init__(self, silent_seconds: Callable[[], float], settings: Settings, name: str) -> None:
        self._silent_seconds, self._limit, self._name = silent_seconds, settings.lease_seconds, name
        self._server: _HealthHttpServer | None = None
        if settings.health_port is not None:
            self._listen(settings.health_port)

    @property
    def port(self) -> int | None:
        """Return the port, or None when not listening."""
        return None if self._server is None else int(self._server.server_address[1])

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def answer(self) -> tuple[int, dict[str, object]]:
        silent = self._silent_seconds()
        is_alive = silent < self._limit
        return 200 if is_alive else 503, {"status": "ok" if is_alive else "stuck", "worker": self._name, "silent_seconds": round(silent, 1)}

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

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *_arguments: object) -> None:
                """Do nothing, as probes are not logged."""

        try:
            self._server = _HealthHttpServer(("", port), Handler)
        except OSError as error:
            log.warning("no /healthz: the port cannot be listened on", port=port, why=str(error))
            return
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()
        log.info("answering /healthz", port=self.port)
