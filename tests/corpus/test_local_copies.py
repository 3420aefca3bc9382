"""Compressed files and columns are read as what they hold; damaged and hostile ones are refused."""

import errno
import gzip
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow
import pytest
import zstandard
from pyarrow import parquet

from interp.corpus import local_copies as copies
from interp.corpus import parquet_lines
from interp.corpus.documents import CorpusIndex, index
from interp.corpus.listing import list_files
from interp.corpus.local_copies import check_start, clear_old_copies, local_copies
from interp.domain.errors import CorpusError, DiskFullError
from interp.domain.spec import CorpusSpec
from interp.security.allowed_files import Roots, within
from tests.security.memory import peak

TEXTS = [f"text {number}: " + "word " * number for number in range(40)]
LINES = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS).encode()


@pytest.fixture(autouse=True)
def _roots(tmp_path: Path):
    with within(Roots((str(tmp_path),))):
        yield


def read(path: Path, cache: Path, **settings: object) -> CorpusIndex:
    spec = CorpusSpec(path=str(path), **settings)  # type: ignore[arg-type]
    listing = list_files(spec)
    for file in listing.files:
        check_start(file, spec, 4096)
    return index(spec, local_copies(listing, spec, cache))


def texts(found: CorpusIndex) -> set[str]:
    return {document.text for document in found.documents()}


def as_parquet(path: Path, column: str = "text", values: object = TEXTS) -> None:
    parquet.write_table(pyarrow.table({"other": list(range(len(TEXTS))), column: values}), path, row_group_size=7)


WRITERS = {
    "lines.jsonl.gz": lambda path: path.write_bytes(gzip.compress(LINES)),
    "lines.ndjson.zst": lambda path: path.write_bytes(zstandard.compress(LINES[:500]) + zstandard.compress(LINES[500:])),
    "table.parquet": as_parquet,
    "texts.txt.gz": lambda path: path.write_bytes(gzip.compress("<|endoftext|>".join(TEXTS).encode())),
    "texts.txt.zst": lambda path: path.write_bytes(zstandard.compress("<|endoftext|>".join(TEXTS).encode())),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_form_gives_the_same_documents(tmp_path: Path, name: str) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "lines.jsonl").write_bytes(LINES)
    WRITERS[name](tmp_path / name)
    found, plain = read(tmp_path / name, tmp_path / "cache"), read(tmp_path / "plain", tmp_path / "cache")
    assert texts(found) == set(TEXTS)
    assert found.digest == plain.digest


def test_a_folder_may_mix_forms_and_copies_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    as_parquet(folder / "a.parquet")
    (folder / "b.txt").write_text("one more")
    (folder / "c.txt.gz").write_bytes(gzip.compress(b"compressed<|endoftext|>in one"))
    found = read(folder, tmp_path / "cache")
    assert texts(found) == {*TEXTS, "one more", "compressed<|endoftext|>in one"}
    monkeypatch.setattr(copies, "_content", None)
    spec = CorpusSpec(path=str(folder))
    assert index(spec, local_copies(list_files(spec), spec, tmp_path / "cache")).digest == found.digest


def test_a_changed_file_is_copied_again(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"before"))
    assert texts(read(path, tmp_path / "cache")) == {"before"}
    path.write_bytes(gzip.compress(b"afterwards"))
    assert texts(read(path, tmp_path / "cache")) == {"afterwards"}


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.txt.gz", gzip.compress(random.Random(0).randbytes(9000).hex().encode())[:-2000], "damaged"),
        ("a.txt.gz", b"no gzip at all", "damaged"),
        ("a.txt.zst", b"no zstd at all", "damaged"),
        ("a.jsonl.zst", zstandard.compress(LINES)[:-30], "damaged|no JSON"),
        ("a.parquet", b"PAR1 not really PAR1", "damaged"),
        ("bomb.txt.gz", gzip.compress(bytes(80 << 20)), "more than 200 times"),
    ],
)
def test_damaged_and_hostile_files_are_refused_with_a_cure(tmp_path: Path, name: str, content: bytes, why: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError, match=why) as refusal:
        read(tmp_path / name, tmp_path / "cache")
    assert refusal.value.cure


def test_a_full_disk_is_no_damaged_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def write(self, _content: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    @contextmanager
    def full(_target: Path) -> Iterator[Full]:
        yield Full()

    WRITERS["table.parquet"](tmp_path / "table.parquet")
    monkeypatch.setattr(copies, "writing", full)
    with pytest.raises(DiskFullError):
        read(tmp_path / "table.parquet", tmp_path / "cache")
    assert not list((tmp_path / "cache" / copies.COPIES).iterdir())


@pytest.mark.parametrize(("column", "values"), [("story", TEXTS), ("text", list(range(len(TEXTS)))), ("text", [[text] for text in TEXTS])])
def test_a_missing_column_or_one_of_no_text_is_said(tmp_path: Path, column: str, values: object) -> None:
    as_parquet(tmp_path / "a.parquet", column, values)
    with pytest.raises(CorpusError, match="column 'text'"):
        read(tmp_path / "a.parquet", tmp_path / "cache")
    if column == "story":
        assert texts(read(tmp_path / "a.parquet", tmp_path / "cache", text_field="story")) == set(TEXTS)


# 8 MiB once, which every row of a kilobyte's file names.
LONG, ROWS = "x" * (8 << 20), 256


def shared(values: list[str]) -> pyarrow.Array:
    return pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * ROWS, pyarrow.int32()), pyarrow.array(values))


@pytest.mark.parametrize("chat", [False, True])
def test_a_text_that_all_rows_share_is_not_unfolded(tmp_path: Path, chat: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_lines, "READING_BYTES", 128 << 20)
    column = shared([LONG])
    if chat:
        messages = pyarrow.StructArray.from_arrays([shared(["user"]), column], names=["role", "content"])
        column = pyarrow.ListArray.from_arrays(pyarrow.array([0, ROWS], pyarrow.int32()), messages)
    parquet.write_table(pyarrow.table({"text": column}), tmp_path / "a.parquet", compression="zstd", store_schema=False)
    assert (tmp_path / "a.parquet").stat().st_size < 2000
    with peak() as seen, pytest.raises(CorpusError, match="more memory than its size allows") as refusal:
        read(tmp_path / "a.parquet", tmp_path / "cache", chat=chat)
    assert refusal.value.cure
    assert seen.mib < 700, "whole, it is 2 GiB"


MOMENT = datetime(2020, 1, 1, tzinfo=UTC)
BEYOND = pyarrow.array([2**62]).view(pyarrow.timestamp("us"))
ODD = {
    "bytes": pyarrow.array([b"\xff"]),
    "moments": pyarrow.array([MOMENT]),
    "moments beyond any": BEYOND,
    "decimals": pyarrow.array([Decimal("1.5")]),
    "bytes in messages": pyarrow.array([[{"role": "user", "content": b"\xff"}]]),
    "moments in messages": pyarrow.ListArray.from_arrays([0, 1], pyarrow.StructArray.from_arrays([BEYOND], names=["role"])),
    "maps": pyarrow.array([[("role", "user")]], pyarrow.map_(pyarrow.string(), pyarrow.string())),
    "nothing": pyarrow.nulls(1),
}


@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("name", ODD)
def test_columns_of_any_type_are_read_or_refused(tmp_path: Path, name: str, chat: bool) -> None:
    parquet.write_table(pyarrow.table({"text": ODD[name]}), tmp_path / "a.parquet")
    with pytest.raises(CorpusError) as refusal:
        read(tmp_path / "a.parquet", tmp_path / "cache", chat=chat)
    assert refusal.value.cure


def test_what_json_lacks_beside_a_message_is_left_out(tmp_path: Path) -> None:
    messages = [[{"role": "user", "content": text, "at": MOMENT, "image": b"\xff"}] for text in TEXTS]
    parquet.write_table(pyarrow.table({"text": messages}), tmp_path / "a.parquet")
    assert texts(read(tmp_path / "a.parquet", tmp_path / "cache", chat=True)) == {json.dumps([{"role": "user", "content": text}]) for text in TEXTS}


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    table = pyarrow.Table.from_arrays([pyarrow.array(["a"]), pyarrow.array(["b"])], names=["text", "text"])
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(CorpusError, match="more than one column 'text'"):
        read(tmp_path / "a.parquet", tmp_path / "cache")


def test_empty_cells_count_as_broken_lines(tmp_path: Path) -> None:
    as_parquet(tmp_path / "a.parquet", values=[None, *TEXTS[1:]])
    with pytest.raises(CorpusError, match="no text in 'text'"):
        read(tmp_path / "a.parquet", tmp_path / "cache")
    found = read(tmp_path / "a.parquet", tmp_path / "cache", broken_share=0.1)
    assert (found.broken, texts(found)) == (1, set(TEXTS[1:]))


@pytest.mark.parametrize("name", ["lines.jsonl.gz", "table.parquet"])
def test_no_more_documents_are_read_than_asked_for(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    assert texts(read(tmp_path / name, tmp_path / "cache", max_documents=5)) == set(TEXTS[:5])
    assert texts(read(tmp_path / name, tmp_path / "cache", max_documents=400)) == set(TEXTS)


def test_progress_comes_to_the_end(tmp_path: Path) -> None:
    as_parquet(tmp_path / "a.parquet")
    WRITERS["texts.txt.gz"](tmp_path / "b.txt.gz")
    spec = CorpusSpec(path=str(tmp_path), exclude=("cache/**",))
    shares: list[float] = []
    local_copies(list_files(spec), spec, tmp_path / "cache", shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1, abs=0.01)


def test_copies_that_nobody_used_for_a_week_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    WRITERS["lines.jsonl.gz"](tmp_path / "a.jsonl.gz")
    read(tmp_path / "a.jsonl.gz", tmp_path / "cache")
    clear_old_copies(tmp_path / "cache")
    assert list((tmp_path / "cache" / copies.COPIES).iterdir())
    monkeypatch.setattr(copies, "KEPT_SECONDS", -1)
    clear_old_copies(tmp_path / "cache")
    assert not list((tmp_path / "cache" / copies.COPIES).iterdir())
