"""A lab's own explainer behind a URL: the example's, which keeps what it is sent."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from examples.endpoint.server import explain
from interp.domain.spec import JobSpec

COST, TOKENS = 0.01, 11


@dataclass
class Lab:
    """Answers after `seconds`; after `most` answers it takes the key no more, and it refuses some features."""

    most: int = 10**6
    refusing: frozenset[int] = frozenset()
    seconds: float = 0.0
    requests: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    def answer(self, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if len(self.requests) >= self.most:
            return 401, {"detail": "the key has run out"}
        self.requests.append(request)
        if request["feature"]["index"] in self.refusing:
            return 200, {"refused": "not this one"}
        return 200, explain(request) | {"cost_dollars": COST, "usage": {"prompt_tokens": TOKENS - 1, "completion_tokens": 1}}

    @property
    def features(self) -> list[int]:
        return [request["feature"]["index"] for request in self.requests]


@contextmanager
def serving(lab: Lab) -> Iterator[Lab]:
    """A server on loopback that answers as the lab does."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                status, answer = lab.answer(request)
            time.sleep(lab.seconds)
            body = json.dumps(answer).encode()
            with suppress(ConnectionError):  # the worker was killed meanwhile
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    lab.url = f"http://127.0.0.1:{server.server_port}/explain"
    yield lab
    server.shutdown()
    server.server_close()


def spec_of(tiny_job: JobSpec, lab: Lab, **changes: Any) -> JobSpec:
    """The tiny job, explained by the lab, one feature at a time."""
    explainer = {"name": "endpoint", "url": lab.url, "price": 0.05, "most_tokens": 20, "concurrency": 1}
    asked = {"features": "0-7", "explainers": [explainer], "scorers": []}
    return JobSpec.model_validate(tiny_job.model_dump(mode="json") | asked | changes)
