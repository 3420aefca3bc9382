"""Limit the number of connections, and the time of each part of a connection.

The timed parts are reading the head, idling, and sending an answer; uvicorn limits only idling. Connections beyond a limit are closed at once, not
queued.
"""

import asyncio
import resource
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from api.http.edge.security_headers import PROTECTION
from interp.config.settings import Settings

MAX_HEAD_BYTES = 64 * 1024
# Open files besides the connections: databases, pipes of workers, corpora.
OWN_FILES = 512


def _files_for(connections: int) -> int:
    """Raise the limit of open files to the connections' need, if allowed, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + OWN_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else max(soft, OWN_FILES + 1)


def protocol(settings: Settings) -> type[asyncio.Protocol]:
    """Return the protocol class that uvicorn uses for each connection."""
    return type("Bounded", (BoundedConnection,), {"settings": settings, "most": most_connections(settings)})


def most_connections(settings: Settings) -> int:
    """Return how many connections the settings and the limit of open files allow."""
    return min(settings.max_connections, _files_for(settings.max_connections) - OWN_FILES)


class BoundedConnection(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """uvicorn's protocol, with a time limit for each part of a request and an answer."""

    settings: Settings
    most: int

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._is_refused = False
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Refuse the connection if there are too many; otherwise start the timer of the head."""
        if len(self.connections) >= self.most:
            self.transport = transport
            self._refuse(503, "Service Unavailable", "too-many-connections", "The server has as many connections as it takes.", "Try again later.")
            return
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Pass data on while the head is within its size and time."""
        if self._is_refused:
            return
        if self._is_idle() and self._head_timer is None:
            self._wait_for_head()
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before or not self._is_idle():
            self._stop_head_timer()
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            cure = "Send fewer or shorter headers."
            self._refuse(431, "Request Header Fields Too Large", "request-header-fields-too-large", "The head of the request is too large.", cure)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers."""
        self._stop_head_timer()
        self._stop_send_timer()
        if self.flow is not None:
            super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Start the timer of a client that does not read the answer."""
        if self.flow is not None:
            super().pause_writing()
        if self._send_timer is None:
            self._send_timer = self.loop.call_later(self.settings.response_send_timeout_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop_send_timer()
        if self.flow is not None:
            super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, even if its client has not read the answer."""
        super().timeout_keep_alive_handler()
        self.loop.call_later(self.settings.response_send_timeout_seconds, self.transport.abort)

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _wait_for_head(self) -> None:
        self._stop_head_timer()
        self._head_timer = self.loop.call_later(self.settings.request_head_timeout_seconds, self._head_is_late)

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self.transport.is_closing():
            return
        if self._head_bytes:
            cure = "Send it at once; GLOSSATOR_REQUEST_HEAD_TIMEOUT_SECONDS says how long the server waits."
            self._refuse(408, "Request Timeout", "request-timeout", "The head of the request did not come in time.", cure)
        else:
            self.transport.close()

    def _refuse(self, status: int, phrase: str, code: str, detail: str, cure: str) -> None:
        self._is_refused = True
        body = f'{{"type":"/problems/{code}","title":"{phrase}","status":{status},"detail":"{detail}","code":"{code}","cure":"{cure}"}}'
        head = f"HTTP/1.1 {status} {phrase}\r\ncontent-type: application/problem+json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in PROTECTION.items())
        again = "retry-after: 5\r\n" if status == 503 else ""
        self.transport.write(f"{head}{again}\r\n{body}".encode("ascii"))
        self.transport.close()
        self.loop.call_later(self.settings.response_send_timeout_seconds, self.transport.abort)

    def _stop_head_timer(self) -> None:
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_send_timer(self) -> None:
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None
