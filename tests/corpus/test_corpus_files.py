"""Whatever a corpus' folder holds is left out, or refused by name: never a crash, never a wait."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from interp.corpus.documents import check_start, index
from interp.corpus.listing import list_files
from interp.domain.errors import CorpusChangedError, CorpusError, FileMissingError, InputError, TextUndecodableError, problem_of
from interp.domain.spec import CorpusSpec


def spec(path: Path, **settings: Any) -> CorpusSpec:
    return CorpusSpec(path=str(path), **settings)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "corpus"
    root.mkdir()
    for number in range(4):
        (root / f"{number}.txt").write_text(f"text {number}", encoding="utf-8")
    return root


@pytest.fixture
def at_home() -> Iterator[None]:
    """Back to the working directory: a socket's path may be no longer than 107 bytes."""
    before = Path.cwd()
    yield
    os.chdir(before)


def odd_entries(root: Path) -> None:
    (root / "gone.txt").symlink_to(root / "nothing")
    (root / "above").symlink_to(root.parent)
    os.mkfifo(root / "pipe")
    os.chdir(root)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s.sock")


@pytest.mark.usefixtures("at_home")
def test_what_is_no_regular_file_is_left_out_and_counted(folder: Path) -> None:
    odd_entries(folder)
    found = index(spec(folder))
    assert len(found.entries) == 4
    assert found.listing.left_out == {"dangling link": 1, "link to a folder": 1, "named pipe": 1, "socket": 1}
    assert list_files(spec(folder, include=("*.txt",), exclude=("gone*",))).left_out == {}


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize("lone", ["pipe", "s.sock"])
def test_a_corpus_that_is_no_file(tmp_path: Path, lone: str) -> None:
    odd_entries(tmp_path)
    with pytest.raises(CorpusError, match="is a named pipe" if lone == "pipe" else "is a socket") as refused:
        index(spec(tmp_path / lone))
    assert refused.value.cure


def test_a_file_that_becomes_a_pipe_is_not_waited_for(folder: Path) -> None:
    listing = list_files(spec(folder))
    (folder / "2.txt").unlink()
    os.mkfifo(folder / "2.txt")
    with pytest.raises(CorpusError, match=r"2\.txt is no regular file"):
        index(spec(folder), listing)


def test_a_file_that_is_gone_or_closed_to_us(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = list_files(spec(folder))
    (folder / "2.txt").unlink()
    with pytest.raises(CorpusError, match=r"2\.txt cannot be read\. No such file"):
        index(spec(folder), listing)

    def closed(path: Any, *_: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(CorpusError, match="Permission denied") as refused:
        list_files(spec(folder))
    assert "exclude" in refused.value.cure


def test_names_that_are_no_utf8(folder: Path) -> None:
    (folder / os.fsdecode(b"caf\xe9.txt")).write_bytes(b"plain text")
    found = index(spec(folder))
    assert len(found.entries) == 5
    json.dumps(found.listing.summary()).encode()
    (folder / os.fsdecode(b"caf\xe9.t\xe9")).write_bytes(b"\xff\xfe")
    with pytest.raises(TextUndecodableError, match=r"caf\\udce9") as refused:
        index(spec(folder))
    json.dumps(problem_of(refused.value), ensure_ascii=False).encode()
    json.dumps(list_files(spec(folder)).summary(), ensure_ascii=False).encode()


@pytest.mark.parametrize("path", ["a" * 5000, "b" * 300, "\ud800"])
def test_a_path_that_no_file_can_have(path: str) -> None:
    with pytest.raises(FileMissingError) as refused:
        index(CorpusSpec.model_construct(path=path, include=("**/*",), exclude=(), text_field="text"))
    json.dumps(problem_of(refused.value), ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "line",
    [
        '{"text": "x", "id": ' + "9" * 5000 + "}",
        '{"text": "x", "m": ' + "[" * 200_000 + "]" * 200_000 + "}",
        '{"\\ud800": "a field whose name is half a character"}',
        "{" + ", ".join(f'"field {number}": 1' for number in range(1000)) + "}",
        "[1, 2]",
        "NaN",
        "\x00",
    ],
)
def test_lines_that_cannot_be_read_are_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": "good"}) + "\n" + line + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"a\.jsonl:2") as refused:
        index(spec(path))
    assert len(json.dumps(problem_of(refused.value), ensure_ascii=False).encode()) < 2000
    with pytest.raises(InputError, match=r"a\.jsonl:2"):
        check_start(list_files(spec(path)).files[0], spec(path), 1 << 22)


@pytest.mark.parametrize("name", ["a.jsonl", "a.JSONL", "a.ndjson", "a.NDJson"])
def test_json_lines_by_any_of_their_suffixes(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"text": "one"}\n{"text": "two"}\n', encoding="utf-8")
    assert {document.text for document in index(spec(tmp_path)).documents()} == {"one", "two"}
    assert {document.text for document in index(spec(tmp_path / name)).documents()} == {"one", "two"}


def test_a_beginning_may_end_within_a_character_or_a_line(tmp_path: Path) -> None:
    text, lines = tmp_path / "a.txt", tmp_path / "a.jsonl"
    text.write_text("äöü€🙂" * 50, encoding="utf-8")
    lines.write_text('{"text": "äöü€🙂"}\n' * 50, encoding="utf-8")
    for path in (text, lines):
        for most in range(1, 120):
            assert check_start(list_files(spec(path)).files[0], spec(path), most) == most
    text.write_bytes(b"abc\xff" + b"d" * 100)
    with pytest.raises(TextUndecodableError, match="Byte 3"):
        check_start(list_files(spec(text)).files[0], spec(text), 50)


def test_the_summary_says_which_files_are_read(folder: Path) -> None:
    (folder / "LICENSE").write_text("x" * 1000, encoding="utf-8")
    (folder / "A.PY").write_text("y" * 10, encoding="utf-8")
    assert list_files(spec(folder)).summary() == {
        "files": 6,
        "bytes": 1034,
        "by_suffix": {"none": {"files": 1, "bytes": 1000}, ".txt": {"files": 4, "bytes": 24}, ".py": {"files": 1, "bytes": 10}},
        "left_out": {},
        "complete": True,
    }
    for number in range(20):
        (folder / f"f.s{number}").write_text("z", encoding="utf-8")
    assert list_files(spec(folder)).summary()["by_suffix"]["others"]["files"] == 11


def test_a_search_ends_where_it_is_told_to(folder: Path) -> None:
    whole, some = list_files(spec(folder)), list_files(spec(folder), 3)
    assert (whole.complete, len(whole.files)) == (True, 4)
    assert (some.complete, some.fingerprint) == (False, None)
    assert len(some.files) == 3


def test_the_fingerprint_changes_with_any_file(folder: Path) -> None:
    before = list_files(spec(folder)).fingerprint
    assert list_files(spec(folder)).fingerprint == before
    os.utime(folder / "1.txt", ns=(0, 1))
    assert list_files(spec(folder)).fingerprint != before


def test_a_corpus_that_changes_between_its_readings_is_not_used(folder: Path) -> None:
    found = index(spec(folder))
    (folder / "2.txt").write_text("something longer", encoding="utf-8")
    with pytest.raises(CorpusChangedError, match=r"2\.txt changed"):
        list(found.documents())
    lines = folder / "a.jsonl"
    lines.write_text('{"text": "one"}\n', encoding="utf-8")
    found = index(spec(lines))
    lines.write_text("no json at all\n", encoding="utf-8")
    with pytest.raises(CorpusChangedError):
        list(found.documents())
