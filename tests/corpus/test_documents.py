"""Documents are found, told apart by their text, ordered by hash and split by it; what cannot be read is said clearly."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp.corpus.documents import check_splits, index, split_of
from interp.domain.errors import CorpusEmptyError, CorpusError, CorpusTooSmallError, FileMissingError, TextUndecodableError
from interp.domain.evidence import Split
from interp.domain.spec import CorpusSpec


def spec(path: Path, **settings: Any) -> CorpusSpec:
    return CorpusSpec(path=str(path), **settings)


def names(path: Path, **settings: Any) -> set[str]:
    return {document.name for document in index(spec(path, **settings)).documents()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.py", "b.txt", "lib/c.py", "lib/deep/d.py", "site-packages/e.py", "lib/site-packages/f.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"text of {name}\n", encoding="utf-8")
    return tmp_path


def test_patterns(folder: Path) -> None:
    assert len(names(folder)) == 6
    assert names(folder, include=("*.py",)) == {"a.py"}
    assert names(folder, include=("**/*.py",), exclude=("**/site-packages/**",)) == {"a.py", "lib/c.py", "lib/deep/d.py"}
    assert names(folder, include=("lib/*.py", "?.txt")) == {"lib/c.py", "b.txt"}
    assert names(folder, include=("lib/**/*.py",), exclude=("lib/deep/*", "**/f.py")) == {"lib/c.py"}


def test_order_is_that_of_the_ids_and_ids_are_of_the_text_alone(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    first = list(index(spec(folder)).documents())
    assert [document.id for document in first] == sorted(document.id for document in first)
    other = tmp_path_factory.mktemp("other")
    for number, document in enumerate(first):
        (other / f"{number}.md").write_text(document.text, encoding="utf-8")
    assert [document.id for document in index(spec(other)).documents()] == [document.id for document in first]
    assert index(spec(other)).digest == index(spec(folder)).digest
    (other / "0.md").write_text("changed", encoding="utf-8")
    assert index(spec(other)).digest != index(spec(folder)).digest


def test_identical_texts_count_once(folder: Path) -> None:
    (folder / "copy.py").write_text("text of a.py\n", encoding="utf-8")
    found = index(spec(folder))
    assert (len(found.entries), found.duplicates) == (6, 1)


def test_empty_files_are_no_documents(folder: Path) -> None:
    (folder / "empty.py").write_text(" \n\t\n", encoding="utf-8")
    assert len(index(spec(folder)).entries) == 6


def test_a_text_that_is_not_utf8(folder: Path) -> None:
    (folder / "latin.py").write_bytes("print('é')".encode("latin-1"))
    with pytest.raises(TextUndecodableError, match=r"latin\.py is not UTF-8 text\. Byte 7") as refused:
        index(spec(folder))
    assert "undecodable: skip" in refused.value.cure
    found = index(spec(folder, undecodable="skip"))
    assert (len(found.entries), found.skipped) == (6, 1)


def test_a_byte_order_mark_is_no_part_of_the_text(folder: Path) -> None:
    (folder / "marked.py").write_bytes(b"\xef\xbb\xbftext of a.py\n")
    assert index(spec(folder)).duplicates == 1


def test_jsonl(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    rows = [{"body": "one é", "id": 1}, {"body": "two"}, {"body": "two"}, {"body": "  "}]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows) + "\n", encoding="utf-8")
    found = list(index(spec(path, text_field="body")).documents())
    assert {document.name: document.text for document in found} == {"corpus.jsonl:1": "one é", "corpus.jsonl:2": "two"}
    with pytest.raises(CorpusError, match=r"corpus\.jsonl:1 has no text in 'text'\. It is an object of 2 fields") as refused:
        index(spec(path))
    assert "text_field" in refused.value.cure


def test_damaged_jsonl_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"text": "good"}\n{"text": \n', encoding="utf-8")
    with pytest.raises(CorpusError, match=r"corpus\.jsonl:2 is no JSON"):
        index(spec(path))
    path.write_text('{"text": "good"}\n{"text": "half \\ud800"}\n', encoding="utf-8")
    with pytest.raises(TextUndecodableError, match="surrogate"):
        index(spec(path))
    assert index(spec(path, undecodable="skip")).skipped == 1


def test_a_lone_text_file_is_cut_at_the_separator(tmp_path: Path) -> None:
    path = tmp_path / "stories.txt"
    path.write_text("One day.<|endoftext|>\nAnother é day.<|endoftext|>\n", encoding="utf-8")
    assert {document.text for document in index(spec(path)).documents()} == {"One day.", "\nAnother é day."}


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(FileMissingError, match="nowhere does not exist"):
        index(spec(tmp_path / "nowhere"))
    with pytest.raises(CorpusEmptyError, match="holds no text"):
        index(spec(tmp_path))
    (tmp_path / "a.txt").write_text("a", encoding="utf-8")
    with pytest.raises(CorpusEmptyError, match=r"\*\*/\*\.py"):
        index(spec(tmp_path, include=("**/*.py",)))


def test_too_small_for_two_splits(tmp_path: Path) -> None:
    path = tmp_path / "one.txt"
    path.write_text("only one", encoding="utf-8")
    found = index(spec(path))
    with pytest.raises(CorpusTooSmallError, match=r"[01] documents to explain from and [01] to test on"):
        check_splits([split_of(entry.id, 0.5) for entry in found.entries], spec(path))


@given(st.integers(0, 2**64 - 1), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_a_larger_test_share_never_takes_a_document_out_of_test(document: int, one: float, other: float) -> None:
    """The split depends on id and share alone, so that growing the share only moves documents one way."""
    small, large = sorted((one, other))
    assert split_of(document, small) <= split_of(document, large)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_the_share_is_kept(share: float) -> None:
    splits = [split_of(document * 2**40, share) for document in range(4000)]
    assert abs(splits.count(Split.TEST) / len(splits) - share) < 0.03
