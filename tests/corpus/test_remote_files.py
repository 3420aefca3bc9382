"""Datasets of a Hub and files of a bucket, from real servers on loopback."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow
import pytest
from pyarrow import parquet

from interp.corpus.documents import index
from interp.corpus.listing import list_files
from interp.corpus.local_copies import check_start, local_copies
from interp.corpus.remote_files import _of_split
from interp.domain.errors import CorpusError, PathRefusedError
from interp.domain.spec import CorpusSpec
from interp.security.allowed_files import Roots, within
from tests.artifacts import bucket
from tests.hub import Hub, Repository, local_hub

TRAIN = [f"once upon a time there were {number} bears" for number in range(300)]
VALIDATION = [f"the end of story {number}" for number in range(20)]

# Reads each corpus spec of the arguments in a process of its own: huggingface_hub reads its settings when it is imported.
READ = """
import json, sys
from pathlib import Path
from interp.corpus.listing import list_files
from interp.corpus.documents import index
from interp.corpus.local_copies import check_start, local_copies
from interp.domain.errors import GlossatorError
from interp.domain.spec import CorpusSpec
for settings in json.loads(sys.argv[1]):
    spec = CorpusSpec(**settings)
    try:
        listing = list_files(spec)
        check_start(listing.files[0], spec, 4096)
        found = index(spec, local_copies(listing, spec, Path(sys.argv[2])))
        print(json.dumps({"texts": sorted(document.text for document in found.documents()), "fingerprint": listing.fingerprint}))
    except GlossatorError as error:
        print(json.dumps({"error": type(error).__name__, "what": error.what, "why": error.why, "cure": error.cure}))
"""


def as_parquet(path: Path, texts: list[str]) -> bytes:
    parquet.write_table(pyarrow.table({"text": texts}), path, row_group_size=50)
    return path.read_bytes()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with local_hub() as hub:
        hub.datasets["org/stories"] = Repository(
            {
                "README.md": b"# Stories\n",
                "data/train-00000-of-00002.parquet": as_parquet(tmp_path / "a", TRAIN[:200]),
                "data/train-00001-of-00002.parquet": as_parquet(tmp_path / "b", TRAIN[200:]),
                "data/validation-00000-of-00001.parquet": as_parquet(tmp_path / "c", VALIDATION),
            },
            tags=("v1",),
        )
        hub.datasets["org/lines"] = Repository({"more/lines.jsonl.gz": gzip.compress(b'{"text": "of lines"}\n'), "notes.txt": b"notes"})
        hub.datasets["org/gated"] = Repository({"train.jsonl": b"{}"}, gated=True)
        hub.datasets["org/secret"] = Repository({"train.jsonl": b'{"text": "secret"}\n'}, token="hf_right")
        yield hub


def read(hub: Hub, home: Path, *specs: dict[str, Any], **environment: str) -> list[dict[str, Any]]:
    variables = {**os.environ, **hub.environment(home), **environment}
    done = subprocess.run(
        [sys.executable, "-c", READ, json.dumps(specs), str(home / "cache")], env=variables, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_datasets_by_name_split_revision_and_file(hub: Hub, tmp_path: Path) -> None:
    stories = "hf://datasets/org/stories"
    train, validation, tag, chosen, some, lines, notes, no_split, no_revision, gone, secret, gated, unnamed = read(
        hub,
        tmp_path,
        {"path": stories},
        {"path": stories, "split": "validation"},
        {"path": f"{stories}@v1", "split": "validation"},
        {"path": stories, "include": ["data/validation*"]},
        {"path": stories, "max_documents": 7},
        {"path": "hf://datasets/org/lines", "include": ["**/*.gz"]},
        {"path": "hf://datasets/org/lines", "include": ["*.txt"]},
        {"path": stories, "split": "test"},
        {"path": f"{stories}@v9"},
        {"path": "hf://datasets/org/gone"},
        {"path": "hf://datasets/org/secret"},
        {"path": "hf://datasets/org/gated"},
        {"path": "hf://models/org"},
    )
    assert train["texts"] == sorted(TRAIN)
    assert validation["texts"] == tag["texts"] == chosen["texts"] == sorted(VALIDATION)
    assert validation["fingerprint"] == tag["fingerprint"], "both are one commit"
    assert some["texts"] == sorted(TRAIN[:7])
    assert (lines["texts"], notes["texts"]) == (["of lines"], ["notes"])
    assert no_split["error"] == "CorpusError"
    assert "train, validation" in no_split["why"]
    assert {answer["error"] for answer in (no_revision, gone, secret, gated)} == {"FileMissingError"}
    assert "Accept them on its page" in gated["cure"]
    assert "HF_TOKEN" in secret["cure"]
    assert "hf://datasets/organisation/name" in unnamed["cure"]


def test_a_broken_connection_goes_on_and_a_private_dataset_takes_its_token(hub: Hub, tmp_path: Path) -> None:
    hub.breaks = 2
    whole, secret = read(hub, tmp_path, {"path": "hf://datasets/org/stories"}, {"path": "hf://datasets/org/secret"}, HF_TOKEN="hf_right")
    assert (whole["texts"], hub.breaks) == (sorted(TRAIN), 0)
    assert secret["texts"] == ["secret"]


def test_a_dataset_that_leads_elsewhere_is_refused_before_anything_is_asked(hub: Hub, tmp_path: Path) -> None:
    """Its card names files of the server's network, of its disk, of a bucket, of another dataset."""
    (tmp_path / "lines.jsonl").write_text('{"text": "local"}')
    places = [
        f"{hub.url}/inside/lines.jsonl",
        f"{hub.url}/inside/*.jsonl",
        str(tmp_path / "*.jsonl"),
        "s3://private/lines.jsonl",
        "hf://datasets/org/lines/more/lines.jsonl.gz",
        "../../lines/more/lines.jsonl.gz",
        f"zip://lines.jsonl::{hub.url}/inside/lines.zip",
    ]
    for number, place in enumerate(places):
        card = f"---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: {json.dumps(place)}\n---\n"
        hub.datasets[f"org/leads{number}"] = Repository({"README.md": card.encode(), "lines.jsonl": b'{"text": "own"}\n'})
    answers = read(hub, tmp_path / "home", *({"path": f"hf://datasets/org/leads{number}"} for number in range(len(places))))
    assert [answer.get("error") for answer in answers] == ["CorpusError"] * len(places), answers
    assert all("leads out of" in answer["what"] for answer in answers), answers
    assert not [path for _, path, _ in hub.requests if "inside" in path]


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> Iterator[bucket.Bucket]:
    with bucket.server() as options:
        for name, value in {"ENDPOINT_URL": "endpoint_url", "ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret"}.items():
            monkeypatch.setenv(f"AWS_{name}", options[value])
        yield bucket.new_bucket(options)


def test_a_named_bucket_is_read_and_no_other(stored: bucket.Bucket, tmp_path: Path) -> None:
    files = fsspec.filesystem("s3", **stored.options)
    files.pipe_file(f"{stored.url}/a/lines.jsonl", b'{"text": "one"}\n{"text": "two"}\n')
    files.pipe_file(f"{stored.url}/b/text.txt.gz", gzip.compress(b"three"))
    spec = CorpusSpec(path=stored.url)
    for buckets in ((), ("s3://other",), (f"{stored.url}x",), (f"{stored.url}/a",)):
        with within(Roots((), buckets=buckets)), pytest.raises(PathRefusedError, match="GLOSSATOR_BUCKETS"):
            list_files(spec)
    with within(Roots((), buckets=(stored.url,))):
        listing = list_files(spec)
        for file in listing.files:
            check_start(file, spec, 4096)
        found = index(spec, local_copies(listing, spec, tmp_path))
        assert {document.text for document in found.documents()} == {"one", "two", "three"}
        files.pipe_file(f"{stored.url}/a/lines.jsonl", b'{"text": "other"}\n')
        assert list_files(spec).fingerprint != listing.fingerprint
        for path in (f"{stored.url}/../other", f"{stored.url}/./a", f"{stored.url}/a::file:///etc"):
            with pytest.raises(PathRefusedError):
                list_files(CorpusSpec(path=path))


def test_a_folder_of_the_dataset_s_name_is_never_read_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "org" / "stories").mkdir(parents=True)
    (tmp_path / "org" / "stories" / "train.jsonl").write_text('{"text": "local"}')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PathRefusedError):
        _of_split("org/stories", "c" * 40, CorpusSpec(path="hf://datasets/org/stories"))


@pytest.mark.parametrize("path", ["http://127.0.0.1/corpus", "file:///etc/passwd", "gs://bucket/folder", "memory://a"])
def test_other_places_are_refused(path: str) -> None:
    with pytest.raises(CorpusError, match="is no place of a corpus"):
        list_files(CorpusSpec(path=path))
