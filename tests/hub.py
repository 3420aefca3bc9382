"""A Hugging Face Hub on loopback: information, trees, and files with redirects, ranges and interruptions."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "c" * 40
API = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/([^/]+)(?:/(.*))?)?")
RESOLVE = re.compile(r"/(?:(datasets)/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


@dataclass
class Repository:
    """A repository's files by path; `token` makes it private, `gated` refuses all; `tags` are revisions beside `main` and the commit."""

    files: Mapping[str, bytes]
    token: str | None = None
    tags: tuple[str, ...] = ()
    commit: str = COMMIT
    gated: bool = False

    def knows(self, revision: str) -> bool:
        return revision in ("main", self.commit, *self.tags)


@dataclass
class Hub:
    """A running hub; `models` and `datasets` by name.

    `breaks` counts down at each file's body: while positive the connection is closed in its middle. `requests` are (method, path, Range header).
    """

    url: str
    models: dict[str, Repository] = field(default_factory=dict)
    datasets: dict[str, Repository] = field(default_factory=dict)
    breaks: int = 0
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)

    def environment(self, home: object) -> dict[str, str]:
        """The variables that lead huggingface_hub here."""
        return {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "*"}


@contextmanager
def local_hub() -> Iterator[Hub]:
    """Serve an empty hub."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    hub = Hub(f"http://127.0.0.1:{server.server_port}")
    server.hub = hub  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> Hub:
        found: Hub = self.server.hub  # type: ignore[attr-defined]
        return found

    def do_HEAD(self) -> None:
        self._route(b"")

    def do_GET(self) -> None:
        self._route(b"")

    def do_POST(self) -> None:
        self._route(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def log_message(self, *_: object) -> None:
        pass

    def _route(self, body: bytes) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path, self.headers.get("Range")))
        if match := API.fullmatch(path):
            kind, name, action, revision, inner = match.groups()
            if repository := self._repository(kind, name, revision or "main"):
                self._json(self._answer(repository, name, action, inner or "", body))
        elif match := RESOLVE.fullmatch(path):
            kind, name, revision, inner = match.groups()
            if repository := self._repository(kind or "models", name, revision):
                self._resolve(repository, inner)
        elif path.startswith("/blobs/"):
            self._blob(path.removeprefix("/blobs/"))
        else:
            self._error(404, "EntryNotFound")

    def _repository(self, kind: str, name: str, revision: str) -> Repository | None:
        found: Repository | None = getattr(self.hub, kind).get(name)
        if found is None or (found.token is not None and self.headers.get("Authorization") != f"Bearer {found.token}"):
            self._error(401 if found else 404, "RepoNotFound")
        elif found.gated:
            self._error(403, "GatedRepo")
        elif not found.knows(revision):
            self._error(404, "RevisionNotFound")
        else:
            return found
        return None

    def _answer(self, repository: Repository, name: str, action: str | None, inner: str, body: bytes) -> Any:
        files = {path: {"type": "file", "path": path, "size": len(content), "oid": _oid(content)} for path, content in repository.files.items()}
        folders = {str(parent) for path in files for parent in PurePosixPath(path).parents} - {"."}
        entries = files | {path: {"type": "directory", "path": path, "size": 0, "oid": _oid(path.encode())} for path in folders}
        if action == "tree":
            is_recursive = "recursive=true" in self.path.lower()
            below = {path: entry for path, entry in entries.items() if not inner or path.startswith(f"{inner}/")}
            return [entry for path, entry in sorted(below.items()) if is_recursive or str(PurePosixPath(path).parent) in (inner, inner or ".")]
        if action == "paths-info":
            is_json = self.headers.get("Content-Type", "").startswith("application/json")
            asked = (json.loads(body) if is_json else parse_qs(body.decode()))["paths"]
            return [entries[path] for path in asked if path in entries]
        siblings = [{"rfilename": path} for path in sorted(files)]
        return {
            "id": name,
            "sha": repository.commit,
            "siblings": siblings,
            "private": repository.token is not None,
            "tags": [],
            "downloads": 0,
            "likes": 0,
        }

    def _resolve(self, repository: Repository, path: str) -> None:
        content = repository.files.get(path)
        if content is None:
            self._error(404, "EntryNotFound")
            return
        digest = hashlib.sha256(content).hexdigest()
        _BLOBS[digest] = content, repository.commit
        self.send_response(302)
        for name, value in {
            "Location": f"{self.hub.url}/blobs/{digest}",
            "X-Linked-Etag": f'"{digest}"',
            "X-Linked-Size": str(len(content)),
            "X-Repo-Commit": repository.commit,
            "Content-Length": "0",
        }.items():
            self.send_header(name, value)
        self.end_headers()

    def _blob(self, digest: str) -> None:
        content, commit = _BLOBS[digest]
        first, last = 0, len(content) - 1
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(match[1]), min(int(match[2] or last), last)
        part = content[first : last + 1]
        self.send_response(206 if match else 200)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.send_header("ETag", f'"{digest}"')
        self.send_header("X-Repo-Commit", commit)  # a redirect on the same host is followed before the headers are read
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.hub.breaks > 0 and len(part) > 1:
            self.hub.breaks -= 1
            self.wfile.write(part[: len(part) // 2])
            self.wfile.flush()
            self.connection.close()
            self.close_connection = True
            return
        self.wfile.write(part)

    def _json(self, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _error(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _oid(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


_BLOBS: dict[str, tuple[bytes, str]] = {}
