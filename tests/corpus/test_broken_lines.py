"""Broken lines, long lines and long texts of a corpus."""

import json
from pathlib import Path

import pytest

from interp.corpus import documents
from interp.corpus.documents import LineBrokenError, index
from interp.domain.errors import CorpusError
from interp.domain.spec import CorpusSpec
from interp.security.allowed_files import Roots, within


@pytest.fixture(autouse=True)
def _roots(tmp_path: Path):
    with within(Roots((str(tmp_path),))):
        yield


def lines(path: Path, good: int, bad: list[bytes]) -> CorpusSpec:
    path.write_bytes(b"".join([*(json.dumps({"text": f"text {number}"}).encode() + b"\n" for number in range(good)), *bad]))
    return CorpusSpec(path=str(path))


@pytest.mark.parametrize("bad", [b"{not json\n", b'{"text": 3}\n', b"[1]\n", b'{"other": "a"}\n', b'{"text": ' + b"9" * 5000 + b"}\n"])
def test_broken_lines_are_counted_up_to_the_stated_share(tmp_path: Path, bad: bytes) -> None:
    found = index(lines(tmp_path / "a.jsonl", 1000, [bad] * 10))
    assert (found.broken, len(found.entries)) == (10, 1000)
    with pytest.raises(LineBrokenError, match=r"a\.jsonl:1001"):
        index(lines(tmp_path / "a.jsonl", 1000, [bad] * 11))


def test_a_corpus_of_broken_lines_alone_fails_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = lines(tmp_path / "a.jsonl", 0, [b'{"body": "text"}\n'] * 5000)
    seen = []
    original = documents._text
    monkeypatch.setattr(documents, "_text", lambda *arguments: seen.append(1) or original(*arguments))
    with pytest.raises(LineBrokenError, match="no text in 'text'"):
        index(spec)
    assert len(seen) < 100


def test_a_line_longer_than_a_document_is_broken_and_never_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "LONGEST_DOCUMENT", 1000)
    spec = lines(tmp_path / "a.jsonl", 3, [b'{"text": "' + b"x" * 50_000 + b'"}\n', b'{"text": "last"}\n']).model_copy(update={"broken_share": 0.5})
    found = index(spec)
    assert (found.broken, {document.text for document in found.documents()}) == (1, {"text 0", "text 1", "text 2", "last"})


@pytest.mark.parametrize("alone", [True, False])
def test_a_text_longer_than_a_document_is_refused_with_a_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: bool) -> None:
    monkeypatch.setattr(documents, "LONGEST_DOCUMENT", 1000)
    monkeypatch.setattr(documents, "READ_AT_ONCE", 64)
    path = tmp_path / "a.txt"
    path.write_text("short<|endoftext|>" * 200)
    if alone:
        assert {document.text for document in index(CorpusSpec(path=str(path))).documents()} == {"short"}
    path.write_text("x" * 2000)
    with pytest.raises(CorpusError, match="Cut it into documents"):
        index(CorpusSpec(path=str(path if alone else tmp_path)))


@pytest.mark.parametrize("block", [1, 5, 13, 64, 1 << 20])
def test_separated_texts_are_the_same_whatever_is_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(documents, "READ_AT_ONCE", block)
    path = tmp_path / "a.txt"
    path.write_text("one\ntwo<|endoftext|>\n<|endoftext|>three<|end<|endoftext|>four")
    found = index(CorpusSpec(path=str(path)))
    assert {(document.text, document.name) for document in found.documents()} == {
        ("one\ntwo", "a.txt:1"), ("three<|end", "a.txt:3"), ("four", "a.txt:3")}  # fmt: skip
