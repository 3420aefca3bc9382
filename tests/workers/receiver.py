"""A receiver of webhooks: a real HTTP server that keeps what it was sent and answers as it is told."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Sent:
    """One request, as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """`answers` are the statuses of the next requests, the last one for all after it. While `holding` is set nobody is answered."""

    url: str = ""
    sent: list[Sent] = field(default_factory=list)
    answers: list[int] = field(default_factory=lambda: [204])
    location: str = ""
    holding: threading.Event = field(default_factory=threading.Event)

    def answer(self) -> int:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Server(ThreadingHTTPServer):
    # The default turns callers away as soon as five wait.
    request_queue_size = 128


@contextmanager
def receiver(name: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """A receiver on a free port of this machine, at a URL with this name."""
    found, lock, over = Receiver(), threading.Lock(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            with lock:
                found.sent.append(Sent(self.path, {key.lower(): value for key, value in self.headers.items()}, body))
                status = found.answer()
            while found.holding.is_set() and not over.wait(0.02):
                # A header a time: one that never falls silent is no faster than one that does.
                self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.send_response(status)
            if found.location:
                self.send_header("location", found.location)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_arguments: Any) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # callers that gave up are part of the tests
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    found.url = f"{'http' if tls is None else 'https'}://{name}:{server.server_port}"
    try:
        yield found
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()
