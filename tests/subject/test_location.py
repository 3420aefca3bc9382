"""A subject is a folder or a model of the Hub; a Hub that cannot be reached costs a clear error, or nothing where the cache is filled."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from interp.domain.errors import FileMissingError
from interp.domain.spec import SubjectSpec
from interp.subject.location import hub_commit, read_config, subject_digest, subject_file, subject_name

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("folder", "config", "name"),
    [
        ("pystdlib/subject", {}, "pystdlib"),
        ("models/tiny-llama", {}, "tiny-llama"),
        ("models/checkpoint", {"_name_or_path": "org/pythia-70m"}, "pythia-70m"),
        ("models/checkpoint", {"_name_or_path": "org/pythia-70m", "glossator_name": "mine"}, "mine"),
    ],
)
def test_short_names(tmp_path: Path, folder: str, config: dict[str, str], name: str) -> None:
    (tmp_path / folder).mkdir(parents=True)
    assert subject_name(SubjectSpec(model=str(tmp_path / folder)), config) == name


def test_short_name_of_a_hub_model() -> None:
    assert subject_name(SubjectSpec(model="openai-community/gpt2"), {}) == "gpt2"


@pytest.mark.parametrize("model", ["{folder}/no/such/folder", "./model", "a/b/c"])
def test_what_can_only_be_a_folder_is_not_looked_for_on_the_hub(model: str, tmp_path: Path) -> None:
    with pytest.raises(FileMissingError, match="is no folder"):
        read_config(SubjectSpec(model=model.format(folder=tmp_path)))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Hub cache with one model of one commit, and no Hub."""
    snapshot = tmp_path / "models--org--tiny" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    (tmp_path / "models--org--tiny" / "refs").mkdir()
    (tmp_path / "models--org--tiny" / "refs" / "main").write_text(COMMIT, encoding="utf-8")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path


def test_a_filled_cache_needs_no_hub(cache: Path) -> None:
    spec = SubjectSpec(model="org/tiny")
    assert read_config(spec) == {"model_type": "llama"}
    assert hub_commit(spec) == COMMIT
    assert subject_digest(spec) == subject_digest(SubjectSpec(model="org/tiny", revision=COMMIT)), "the commit counts, not what it was called"


def test_what_is_not_in_the_cache_says_how_to_get_it(cache: Path) -> None:
    with pytest.raises(FileMissingError, match="`hf download`"):
        subject_file(SubjectSpec(model="org/tiny"), "tokenizer.json")
    with pytest.raises(FileMissingError, match="`hf download`"):
        read_config(SubjectSpec(model="org/other"))


class Hub(BaseHTTPRequestHandler):
    """A Hub with one file."""

    def do_HEAD(self) -> None:
        self._answer(b"")

    def do_GET(self) -> None:
        self._answer(b'{"model_type": "gpt2"}')

    def _answer(self, body: bytes) -> None:
        found = self.path.endswith("/org/tiny/resolve/main/config.json")
        self.send_response(200 if found else 404)
        for name, value in {
            "ETag": '"abc"',
            "X-Repo-Commit": COMMIT,
            "Content-Length": "22",
            "X-Error-Code": "" if found else "EntryNotFound",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if found:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_fetched_from_a_hub_by_its_endpoint(hub: str, tmp_path: Path) -> None:
    program = """
from interp.domain.errors import FileMissingError
from interp.domain.spec import SubjectSpec
from interp.subject.location import hub_commit, read_config, subject_file
spec = SubjectSpec(model="org/tiny")
print(read_config(spec)["model_type"], hub_commit(spec))
try:
    subject_file(spec, "tokenizer.json")
except FileMissingError as error:
    print(error.what)
"""
    environment = {**os.environ, "HF_ENDPOINT": hub, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "*"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == [f"gpt2 {COMMIT}", "tokenizer.json of org/tiny is not on the Hub."], done.stderr
