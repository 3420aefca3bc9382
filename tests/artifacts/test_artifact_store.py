"""What a store promises, whether it is a folder or a bucket."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from interp.domain.errors import ArtifactMissingError, ArtifactsUnreachableError, DiskFullError
from interp.files import artifact_store
from interp.files.artifact_store import Store
from interp.llm.transports import batch_files
from interp.llm.transports.base import TransportError
from interp.llm.transports.batch_files import BatchFiles
from tests.artifacts.bucket import Bucket


def write(content: bytes):
    return lambda path: path.write_bytes(content)


def fill(folder: Path) -> None:
    (folder / "one.bin").write_bytes(b"1" * 1000)
    (folder / "two.json").write_text("{}")


def test_what_one_worker_puts_another_reads_in_any_spans(store: Store, elsewhere: Store) -> None:
    store.put("partials/job/a.bin", write(bytes(range(256)) * 100))
    assert elsewhere.read("partials/job/a.bin", [(0, 4), (256, 258), (3, 3), (25_599, 30_000)]) == [b"\0\1\2\3", b"\0\1", b"", b"\xff"]
    store.put("partials/job/a.bin", write(b"anew"))
    assert elsewhere.read("partials/job/a.bin", [(0, 100)]) == [b"anew"]


def test_sizes_are_known_of_what_is_there(store: Store, elsewhere: Store) -> None:
    assert elsewhere.size("batches/a.jsonl") is None
    store.put("batches/a.jsonl", write(b"x" * 1000))
    assert elsewhere.size("batches/a.jsonl") == 1000
    store.delete("batches/a.jsonl")
    assert elsewhere.size("batches/a.jsonl") is None


def test_a_batch_that_one_worker_wrote_is_answered_from_elsewhere(store: Store, elsewhere: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    # The last block ends with the file.
    monkeypatch.setattr(batch_files, "BLOCK_BYTES", 8)
    content = b"1234567\n" * 3

    async def work() -> list[bytes]:
        mine, other = BatchFiles(store), BatchFiles(elsewhere)
        batch_id = await mine.upload_batch_file(content)
        assert (await mine.create_batch(batch_id, "/v1/chat/completions")).id == batch_id
        assert await other.batch_of_file(batch_id) is not None
        assert b"".join(batch_files.blocks_of(elsewhere, batch_files.requests_of(batch_id))) == content
        assert not (await mine.batch(batch_id)).has_ended
        with elsewhere.writing(batch_files.results_of(batch_id)) as file:
            file.write(content)
        assert batch_files.with_results(store) == {batch_id}
        info, lines = await mine.batch(batch_id), list[bytes]()
        assert info.status == "completed"
        await mine.read_lines(batch_id, 0, 0, lines.append)
        for name in (batch_files.requests_of, batch_files.results_of):
            elsewhere.delete(name(batch_id))
        with pytest.raises(TransportError) as lost:
            await mine.batch(batch_id)
        assert lost.value.status == 404
        return lines

    assert asyncio.run(work()) == [b"1234567"] * 3 + [b""]


def test_what_breaks_off_was_never_there(store: Store, elsewhere: Store) -> None:
    def breaks(path: Path) -> None:
        path.write_bytes(b"half")
        raise RuntimeError("the worker stops")

    with pytest.raises(RuntimeError):
        store.put("a", breaks)
    with pytest.raises(RuntimeError):
        store.put_folder("b", lambda folder: breaks(folder / "file"))
    assert elsewhere.names("") == []
    with pytest.raises(ArtifactMissingError, match="GLOSSATOR_ARTIFACTS_URL"):
        elsewhere.read("a", [(0, 4)])
    assert elsewhere.folder("b") is None


def test_a_full_disk_is_told_and_leaves_nothing(store: Store) -> None:
    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(DiskFullError, match="disk is full"):
        store.put("a", full)
    assert store.names("") == []


def test_folders_lie_on_the_machine_that_opens_them(store: Store, elsewhere: Store) -> None:
    made = store.put_folder("corpora/abc", fill)
    assert (made / "one.bin").read_bytes() == b"1" * 1000
    assert elsewhere.names("corpora") == ["abc"]
    fetched = elsewhere.folder("corpora/abc")
    assert fetched is not None
    assert sorted(path.name for path in fetched.iterdir() if not path.name.startswith(".")) == ["one.bin", "two.json"]
    assert (fetched / "one.bin").read_bytes() == b"1" * 1000
    assert elsewhere.is_local == (fetched == made), "a folder of this machine is not copied"
    before = (fetched / "one.bin").stat().st_mtime_ns
    assert elsewhere.folder("corpora/abc") == fetched
    assert (fetched / "one.bin").stat().st_mtime_ns == before, "it is fetched once"


def test_a_folder_that_was_deleted_is_gone_for_all_though_copies_lie_about(store: Store, elsewhere: Store) -> None:
    store.put_folder("corpora/abc", fill)
    elsewhere.folder("corpora/abc")
    store.delete("corpora/abc")
    assert store.folder("corpora/abc") is None
    assert elsewhere.folder("corpora/abc") is None
    store.put_folder("corpora/abc", fill)
    assert elsewhere.folder("corpora/abc") is not None


def test_a_folder_that_came_over_in_part_is_not_there(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket has no rename: readers see a folder when its last file is there."""
    here = Store.of(bucket.url, bucket.options, tmp_path / "here")
    monkeypatch.setattr(here.files, "pipe_file", lambda *_: (_ for _ in ()).throw(ConnectionError("cut off")))
    with pytest.raises(ConnectionError):
        here.put_folder("corpora/abc", fill)
    monkeypatch.undo()
    there = Store.of(bucket.url, bucket.options, tmp_path / "there")
    assert there.folder("corpora/abc") is None
    here.put_folder("corpora/abc", fill)
    assert there.folder("corpora/abc") is not None


def test_the_cache_keeps_the_folders_used_last(bucket: Bucket, tmp_path: Path) -> None:
    here, there = (Store.of(bucket.url, bucket.options, tmp_path / name) for name in ("here", "there"))
    names = [f"corpora/{number}" for number in range(artifact_store.FOLDERS_CACHED + 2)]
    for name in names:
        here.put_folder(name, fill)
    for name in names:
        there.folder(names[0])
        there.folder(name)
    cached = {path.name for path in (tmp_path / "there" / "corpora").iterdir()}
    assert len(cached) == artifact_store.FOLDERS_CACHED
    assert {"0", names[-1].rpartition("/")[2]} <= cached


def test_names_and_deleting(store: Store, elsewhere: Store) -> None:
    for name in ("partials/one/a", "partials/one/b", "partials/two/a"):
        store.put(name, write(b""))
    assert elsewhere.names("partials") == ["one", "two"]
    assert elsewhere.names("partials/one") == ["a", "b"]
    store.delete("partials/one/a")
    assert elsewhere.names("partials/one") == ["b"]
    store.delete("partials/one")
    store.delete("partials/one")
    assert elsewhere.names("partials") == ["two"]
    assert elsewhere.names("nothing") == []


def test_touching_notes_the_time(store: Store, elsewhere: Store) -> None:
    assert elsewhere.touched("corpora/abc/used") is None
    store.put_folder("corpora/abc", fill)
    store.touch("corpora/abc/used")
    moment = elsewhere.touched("corpora/abc/used")
    assert moment is not None
    assert abs(datetime.now(UTC) - moment) < timedelta(minutes=1)


def test_a_store_that_works_is_found_so_and_left_as_it_was(store: Store) -> None:
    store.check()
    assert list(store.files.find(store.root)) == []


def test_a_store_that_does_not_work_says_why_and_what_to_do(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    broken = [
        Store.of(f"file://{tmp_path}/file/store", {}, tmp_path),
        Store.of("s3://no-such-bucket/folder", bucket.options, tmp_path),
        Store.of(bucket.url, bucket.options | {"endpoint_url": "http://127.0.0.1:9", "config_kwargs": {"retries": {"max_attempts": 1}}}, tmp_path),
    ]
    for store in broken:
        with pytest.raises(ArtifactsUnreachableError, match="GLOSSATOR_ARTIFACTS_URL"):
            store.check()
    with pytest.raises(ArtifactsUnreachableError, match="cannot be opened"):
        Store.of("nosuch://bucket", {}, tmp_path)
