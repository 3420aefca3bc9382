"""What a worker that is killed in the middle of writing leaves behind goes; what one that lives is writing stays, however long it stands still."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from interp.files import atomic
from interp.files.artifact_store import Store
from tests.artifacts.bucket import Bucket

PUTS = ["put", "put_folder"]
WRITER = """
import json, sys
from pathlib import Path
from interp.files.artifact_store import Store

url, options, cache, put = json.loads(sys.argv[1])

def write(path):
    (path / "part" if put == "put_folder" else path).write_bytes(b"half")
    print("writing", flush=True)
    sys.stdin.readline()

getattr(Store.of(url, options, Path(cache)), put)("corpora/abc", write)
"""


@contextmanager
def writing(place: Bucket, cache: Path, put: str) -> Iterator["subprocess.Popen[str]"]:
    """A process of its own that has begun to write to the store, and ends it when it is given a line."""
    arguments = json.dumps([place.url, place.options, str(cache), put])
    command = [sys.executable, "-c", WRITER, arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "writing\n"
            yield process
        finally:
            process.kill()


def drafts(folder: Path) -> list[Path]:
    """The drafts that lie anywhere below a folder, made to look as if they were last written long ago."""
    found = [path for path in folder.rglob(".*") if atomic.DRAFT.fullmatch(path.name)]
    for draft in found:
        for path in (*draft.rglob("*"), draft):
            os.utime(path, (time.time() - 2 * atomic.YOUNG_SECONDS,) * 2)
    return found


@pytest.mark.parametrize("put", PUTS)
def test_the_draft_of_a_killed_worker_goes(put: str, store: Store, place: Bucket, tmp_path: Path) -> None:
    with writing(place, store.cache, put) as process:
        assert len(drafts(tmp_path)) == 1
        process.send_signal(signal.SIGKILL)
    assert store.clear_drafts() == 1
    assert not drafts(tmp_path)
    assert store.clear_drafts() == 0


@pytest.mark.parametrize("put", PUTS)
def test_the_draft_of_a_worker_that_stands_still_stays_and_becomes_what_it_was_to_be(put: str, store: Store, place: Bucket, tmp_path: Path) -> None:
    with writing(place, store.cache, put) as process:
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        assert len(drafts(tmp_path)) == 1
        assert store.clear_drafts() == 0
        process.send_signal(signal.SIGCONT)
        process.communicate("go on\n", timeout=60)
        assert process.returncode == 0
    assert not drafts(tmp_path)
    assert store.read("corpora/abc" + "/part" * (put == "put_folder"), [(0, 4)]) == [b"half"]


def test_what_was_written_lately_stays_though_nobody_seems_to_hold_it(store: Store, place: Bucket, tmp_path: Path) -> None:
    """As on a disk over a network that only pretends to lock."""
    with writing(place, store.cache, "put_folder") as process:
        (draft,) = drafts(tmp_path)
        process.send_signal(signal.SIGKILL)
    os.utime(next(draft.iterdir()))
    assert store.clear_drafts() == 0


def test_a_buckets_worker_clears_its_own_cache_when_it_writes_there(bucket: Bucket, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for put in PUTS:
        with writing(bucket, cache, put) as process:
            process.send_signal(signal.SIGKILL)
    assert len(drafts(cache)) == 2
    Store.of(bucket.url, bucket.options, cache).put("partials/job/a", lambda path: path.write_bytes(b"whole"))
    assert not drafts(cache)
