"""Dictionaries of a Hub and of a bucket, from real servers on loopback."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import fsspec
import pytest

from benches import tiny
from interp.dictionary import downloads, sources
from interp.dictionary.formats import dictionary_digest, read
from interp.domain.errors import DictionaryError, FileMissingError, PathRefusedError
from interp.domain.spec import DictionarySpec
from interp.security import sandbox
from interp.security.allowed_files import Roots, within
from interp.security.sandbox_server import WITHOUT_NETWORK
from tests.artifacts import bucket
from tests.hub import COMMIT, Hub, Repository, local_hub

# Fetches and reads each source of the arguments in a process of its own: huggingface_hub reads its settings when it is imported. No root is allowed.
READ = """
import json, sys
from pathlib import Path
from huggingface_hub import constants
from interp.dictionary import sources
from interp.dictionary.formats import dictionary_digest, read
from interp.domain.errors import GlossatorError
from interp.domain.spec import DictionarySpec
from interp.security import sandbox
from interp.security.allowed_files import Roots, within
from interp.security.sandbox_server import WITHOUT_NETWORK
constants.DOWNLOAD_CHUNK_SIZE = 64  # what has come in whole parts of this size is kept
for source, format in json.loads(sys.argv[1]):
    spec, shares = DictionarySpec(source=source, format=format, hook_point="blocks.1.hook_resid_pre"), []
    try:
        with within(Roots(())):
            fetched = sources.fetch(spec, shares.append)
            found = read(fetched)
            files = sorted(path.name for path in Path(constants.HF_HUB_CACHE).glob("models--*/snapshots/*/**/*") if path.is_file())
            facts = {"features": found.canonical().W_enc.shape[1], "digest": dictionary_digest(fetched)}
            print(json.dumps(facts | {"source": fetched.source, "shares": shares, "files": files}))
    except GlossatorError as error:
        print(json.dumps({"error": type(error).__name__, "what": error.what, "why": error.why, "cure": error.cure}))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("dictionary")
    tiny.write_dictionary(made, tiny.WIDTH, tiny.FEATURES)
    return made


@pytest.fixture
def hub(folder: Path) -> Iterator[Hub]:
    files = {f"layer/{path.name}": path.read_bytes() for path in folder.iterdir()}
    weights = files["layer/sae_weights.safetensors"]
    with local_hub() as hub:
        hub.models["org/sae"] = Repository(
            {**files, "README.md": b"# Sparse", "layer/curve.png": b"picture", "other/sae_weights.safetensors": weights, "config.json": b"{}"},
            tags=("v1",),
        )
        hub.models["org/secret"] = Repository(files, token="hf_right")
        hub.models["org/gated"] = Repository(files, gated=True)
        hub.models["org/page"] = Repository(files | {"layer/sae_weights.safetensors": b"<!DOCTYPE html><html>Sign in</html>" * 100})
        hub.models["org/short"] = Repository(files | {"layer/sae_weights.safetensors": weights[:-100]})
        hub.models["org/clt"] = Repository({f"W_{part}_{layer}.safetensors": b"x" for part in ("enc", "dec") for layer in (1, 3)})
        hub.models["org/many"] = Repository({f"part_{number}.safetensors": b"x" for number in range(downloads.MOST_WEIGHTS + 1)})
        yield hub


def fetched(hub: Hub, home: Path, *asked: tuple[str, str], **environment: str) -> list[dict[str, Any]]:
    variables = {**os.environ, **hub.environment(home), **environment}
    done = subprocess.run([sys.executable, "-c", READ, json.dumps(asked)], env=variables, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_repositories_by_revision_path_and_file(hub: Hub, folder: Path, tmp_path: Path) -> None:
    hub.breaks = 2
    whole, tag, behind, neurons, root, gone, secret, gated, revision, path, page, short, many, layer, dataset = fetched(
        hub,
        tmp_path,
        ("hf://org/sae/layer", "auto"),
        ("hf://org/sae@v1/layer/", "auto"),
        ("hf://org/sae/layer@v1", "auto"),
        ("hf://org/sae", "neurons"),
        ("hf://org/sae", "auto"),
        ("hf://org/gone/layer", "auto"),
        ("hf://org/secret/layer", "auto"),
        ("hf://org/gated/layer", "auto"),
        ("hf://org/sae@v9/layer", "auto"),
        ("hf://org/sae/nowhere", "auto"),
        ("hf://org/page/layer", "auto"),
        ("hf://org/short/layer", "auto"),
        ("hf://org/many", "auto"),
        ("hf://org/clt/W_enc_3.safetensors", "cross_layer_transcoder"),
        ("hf://datasets/org/sae", "auto"),
    )
    local = DictionarySpec(source=str(folder), hook_point="blocks.1.hook_resid_pre")
    assert whole["digest"] == dictionary_digest(local), "the same files are the same dictionary, wherever they come from"
    assert whole["features"] == tiny.FEATURES
    assert whole["files"] == ["cfg.json", "sae_weights.safetensors"], "one dictionary's files, not the repository"
    assert whole["source"] == tag["source"] == behind["source"] == f"hf://org/sae@{COMMIT}/layer"
    assert (whole["shares"][-1], hub.breaks) == (1.0, 0)
    assert whole["shares"] == sorted(whole["shares"])
    again = [place for method, place, part in hub.requests if method == "GET" and part]
    assert again, "what came before the connection broke is not fetched again"
    assert len(tag["shares"]) == len(behind["shares"]) == len(whole["files"]), "all are there: no part comes again"
    assert neurons["error"] == "SubjectError"  # its config.json says nothing of a model: that was all that was fetched
    assert not any("other" in place for _, place, _ in hub.requests)
    assert "layer, other" in root["why"]
    assert {answer["error"] for answer in (root, gone, secret, gated, revision, path)} == {"FileMissingError"}
    assert "Accept them on its page" in gated["cure"]
    assert "no such revision" in revision["why"]
    assert "HF_TOKEN" in secret["cure"]
    assert "nowhere" in path["what"]
    assert "no safetensors file" in page["why"]
    assert "cut short" in short["why"]
    assert "part_" in many["cure"]
    assert layer["error"] == "DictionaryError"
    assert {place.rpartition("/")[2] for _, place, _ in hub.requests if place.startswith("/org/clt/")} == {
        "W_enc_3.safetensors",
        "W_dec_3.safetensors",
    }
    assert "hf://organisation/repository" in dataset["cure"]


@pytest.mark.parametrize(
    "source",
    [
        "hf://org",
        "hf://org/../x",
        "hf://org/sae/../../etc",
        "hf://org/sae@v1/x@v2",
        "hf://org/sae/%2e%2e",
        "hf://org/sae@../x",
        "hf://user:key@host/x",
    ],
)
def test_what_names_no_repository_asks_nobody(source: str) -> None:
    with pytest.raises(DictionaryError, match="names no dictionary"):
        sources.fetch(DictionarySpec(source=source))


@pytest.mark.parametrize("source", ["http://127.0.0.1/dictionary", "https://huggingface.co/org/sae", "gs://bucket/folder", "memory://a", "://"])
def test_other_places_are_refused(source: str) -> None:
    with pytest.raises(DictionaryError, match="is no place of a dictionary"):
        read(DictionarySpec(source=source))


def test_a_file_url_is_a_path_and_stays_inside_the_roots(folder: Path) -> None:
    spec = DictionarySpec(source=f"file://{folder}")
    assert dictionary_digest(spec) == dictionary_digest(DictionarySpec(source=str(folder)))
    with within(Roots(())), pytest.raises(PathRefusedError):
        read(spec)


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[bucket.Bucket]:
    monkeypatch.setattr(downloads, "copies", lambda: tmp_path / "copies")
    with bucket.server() as options:
        for name, value in {"ENDPOINT_URL": "endpoint_url", "ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret"}.items():
            monkeypatch.setenv(f"AWS_{name}", options[value])
        yield bucket.new_bucket(options)


def test_a_named_bucket_is_read_and_no_other(stored: bucket.Bucket, folder: Path) -> None:
    files = fsspec.filesystem("s3", **stored.options)
    for path in folder.iterdir():
        files.pipe_file(f"{stored.url}/deep/layer/{path.name}", path.read_bytes())
    spec = DictionarySpec(source=f"{stored.url}/deep/layer")
    for buckets in ((), ("s3://other",), (f"{stored.url}/deep/la",)):
        with within(Roots((), buckets=buckets)), pytest.raises(PathRefusedError, match="GLOSSATOR_BUCKETS"):
            read(spec)
    with within(Roots((), buckets=(stored.url,))):
        fetched = sources.fetch(spec)
        assert fetched.source.startswith(f"{stored.url}/deep/layer#")
        digest = dictionary_digest(fetched)
        assert read(fetched).canonical().W_enc.shape == (tiny.WIDTH, tiny.FEATURES)
        with pytest.raises(FileMissingError, match="deep"):
            read(DictionarySpec(source=f"{stored.url}/deep"))
        for outside in (f"{stored.url}/../other", f"{stored.url}/deep::file:///etc"):
            with pytest.raises(PathRefusedError):
                read(DictionarySpec(source=outside))
        files.pipe_file(f"{stored.url}/deep/layer/cfg.json", b"{}")
        assert read(fetched).header.n_features == tiny.FEATURES, "a job reads the version that it was submitted with"
        assert sources.fetch(fetched) == fetched
        shutil.rmtree(downloads.copies())
        with pytest.raises(DictionaryError, match="has changed"):
            sources.fetch(fetched)
    assert digest == dictionary_digest(DictionarySpec(source=str(folder)))
    with within(Roots((), buckets=("s3://other",))), pytest.raises(PathRefusedError):
        read(fetched)


@dataclass
class RunFile:
    """A file of a run, as the client of Weights & Biases gives it."""

    name: str
    content: bytes
    md5: str = "x"

    @property
    def size(self) -> int:
        return len(self.content)

    def download(self, root: str, replace: bool) -> IO[bytes]:
        (Path(root) / self.name).write_bytes(self.content)
        return (Path(root) / self.name).open("rb")


def test_a_run_gives_its_last_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("config.yaml", "samples_900.pt", "samples_1000.pt", "../samples_2000.pt", "other.bin")
    files = [RunFile(name, name.encode()) for name in names]
    api = SimpleNamespace(run=lambda name: SimpleNamespace(files=lambda: files if name == "team/sparse/abc" else []))
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(Api=lambda **_: api))
    monkeypatch.setattr(downloads, "copies", lambda: tmp_path)
    fetched = sources.fetch(DictionarySpec(source="wandb://team/sparse/abc"))
    assert fetched.source.startswith("wandb://team/sparse/abc/samples_1000.pt#")
    with sources.reading(fetched) as (path, _):
        assert path.read_bytes() == b"samples_1000.pt"
    named = sources.fetch(DictionarySpec(source="wandb://team/sparse/abc/other.bin"))
    assert "/other.bin#" in named.source
    files[2].md5 = "y"
    assert sources.fetch(fetched) == fetched
    shutil.rmtree(downloads.copies())
    with pytest.raises(DictionaryError, match="has changed"):
        sources.fetch(fetched)
    for source in ("wandb://team/sparse/none", "wandb://team/sparse/abc/config.yaml", "wandb://team/sparse/abc/none.pt"):
        with pytest.raises(FileMissingError):
            sources.fetch(DictionarySpec(source=source))
    for source in ("wandb://team/sparse", "wandb://team/sparse/../x", "wandb://team/sparse/abc/../x"):
        with pytest.raises(DictionaryError, match="names no dictionary"):
            sources.fetch(DictionarySpec(source=source))
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(DictionaryError) as raised:
        sources.fetch(DictionarySpec(source="wandb://team/sparse/abc"))
    assert "glossator[wandb]" in raised.value.cure


@pytest.mark.parametrize("source", ["hf://org/sae", "s3://sae-layers/layer", "wandb://lab/e2e/abc123"])
def test_a_process_that_checks_files_asks_no_host(source: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(downloads, "copies", lambda: tmp_path)
    for scheme in sources.FETCH:
        monkeypatch.setitem(sources.FETCH, scheme, lambda *_: pytest.fail("a host was asked"))
    monkeypatch.setenv(WITHOUT_NETWORK, "1")
    with within(Roots((), buckets=("s3://sae-layers",))), pytest.raises(FileMissingError, match="not on this machine yet"):
        sources.fetch(DictionarySpec(source=source, hook_point="blocks.1.hook_resid_pre"))


def test_processes_that_check_files_are_marked() -> None:
    assert sandbox.python_environment()[WITHOUT_NETWORK] == "1"
