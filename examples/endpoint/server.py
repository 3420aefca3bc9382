"""Serve an explainer that labels a feature by its most frequent peak token: `python -m examples.endpoint.server 8090`."""

import json
import sys
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def explain(request: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to a request of the form `glossator.explain/1`."""
    peaks = [context["tokens"][context["peak"]] for context in request["contexts"] if context["peak"] is not None]
    if not peaks:
        return {"refused": "no context in which the feature fires"}
    (token, count), *_ = Counter(peaks).most_common(1)
    return {"label": f"the token `{token}`", "details": f"{count} of {len(peaks)} peaks", "cost_dollars": 0.0}


class Explainer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = json.dumps(explain(request)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Explainer).serve_forever()
