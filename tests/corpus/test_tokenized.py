"""The corpus as tokens: whole documents in the order of their ids, cut at max_tokens, the same wherever it is opened."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from interp.corpus.documents import index, split_of
from interp.corpus.tokenized import TokenizedCorpus, tokenize_corpus
from interp.domain.errors import CorpusTooSmallError, DiskFullError, TokenizerMismatchError
from interp.domain.spec import CorpusSpec
from interp.domain.vocabulary import Vocabulary
from interp.files.artifact_store import Store


def byte_subject(size: int = 256, digest: str = "subject") -> Any:
    """A subject whose tokens are bytes."""

    def encode_texts(texts: Sequence[str]) -> list[NDArray[np.uint32]]:
        return [np.frombuffer(text.encode(), dtype=np.uint8).astype(np.uint32) for text in texts]

    return SimpleNamespace(digest=digest, vocabulary=Vocabulary(tuple(bytes([byte]) for byte in range(size)), frozenset()), encode_texts=encode_texts)


@pytest.fixture
def spec(tmp_path: Path) -> CorpusSpec:
    folder = tmp_path / "text"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number}.txt").write_text(f"document {number} " * (number % 7 + 1), encoding="utf-8")
    return CorpusSpec(path=str(folder))


def silent(_: int) -> None:
    pass


def test_all_documents_in_order_with_their_splits(spec: CorpusSpec, tmp_path: Path) -> None:
    corpus = tokenize_corpus(spec, byte_subject(), Store.in_folder(tmp_path), silent)
    texts = {document.id: document.text for document in index(spec).documents()}
    assert corpus.documents.tolist() == list(texts)
    for place, (identity, text) in enumerate(texts.items()):
        row = corpus.tokens[corpus.offsets[place] : corpus.offsets[place + 1]]
        assert bytes(row.astype(np.uint8)).decode() == text
        assert corpus.splits[place] == split_of(identity, spec.test_share)
    assert set(corpus.splits.tolist()) == {0, 1}
    assert (corpus.tokens.dtype, corpus.offsets.dtype, corpus.documents.dtype, corpus.splits.dtype) == (np.uint32, np.int64, np.uint64, np.uint8)


def test_a_smaller_max_tokens_is_the_beginning_of_a_larger(spec: CorpusSpec, tmp_path: Path) -> None:
    whole = tokenize_corpus(spec, byte_subject(), Store.in_folder(tmp_path), silent)
    part = tokenize_corpus(spec.model_copy(update={"max_tokens": 500}), byte_subject(), Store.in_folder(tmp_path), silent)
    assert len(part.tokens) == 500
    np.testing.assert_array_equal(part.tokens, whole.tokens[:500])
    np.testing.assert_array_equal(part.splits, whole.splits[: len(part)])
    assert part.offsets[-1] == 500
    assert (np.diff(part.offsets) > 0).all()


def test_found_again_by_its_content(spec: CorpusSpec, tmp_path: Path) -> None:
    first = tokenize_corpus(spec, byte_subject(), Store.in_folder(tmp_path), silent)
    asked: list[int] = []
    again = tokenize_corpus(spec, byte_subject(), Store.in_folder(tmp_path), asked.append)
    assert not asked, "found on disk, so nothing is tokenised"
    assert again.path == first.path
    np.testing.assert_array_equal(TokenizedCorpus.open(first.path).tokens, first.tokens)
    assert tokenize_corpus(spec, byte_subject(digest="other"), Store.in_folder(tmp_path), silent).digest != first.digest
    assert sorted(path.name for path in (tmp_path / "corpora").iterdir() if path.name.startswith(".")) == []


def test_progress_reaches_the_number_of_tokens(spec: CorpusSpec, tmp_path: Path) -> None:
    done: list[int] = []
    corpus = tokenize_corpus(spec, byte_subject(), Store.in_folder(tmp_path), done.append)
    assert done == sorted(done)
    assert done[-1] == len(corpus.tokens)


def test_one_split_without_a_document(spec: CorpusSpec, tmp_path: Path) -> None:
    with pytest.raises(CorpusTooSmallError, match="max_tokens 3"):
        tokenize_corpus(spec.model_copy(update={"max_tokens": 3}), byte_subject(), Store.in_folder(tmp_path), silent)
    assert not (tmp_path / "corpora").exists(), "nothing half-made stays"


def test_an_id_beyond_the_vocabulary(spec: CorpusSpec, tmp_path: Path) -> None:
    with pytest.raises(TokenizerMismatchError, match="beyond the subject's vocabulary of 100"):
        tokenize_corpus(spec, byte_subject(size=100), Store.in_folder(tmp_path), silent)


def test_a_full_disk_leaves_nothing(spec: CorpusSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("interp.corpus.tokenized.np.savez", full)
    with pytest.raises(DiskFullError, match="disk is full"):
        tokenize_corpus(spec, byte_subject(), Store.in_folder(tmp_path), silent)
    assert list((tmp_path / "corpora").iterdir()) == []


@given(st.lists(st.integers(1, 50), min_size=1, max_size=60), st.integers(1, 200))
def test_shards_cover_every_document_once_and_keep_to_their_size(lengths: list[int], size: int) -> None:
    count = len(lengths)
    offsets = np.cumsum([0, *lengths], dtype=np.int64)
    corpus = TokenizedCorpus(
        "", Path(), np.zeros(offsets[-1], np.uint32), offsets, np.arange(count, dtype=np.uint64), np.zeros(count, np.uint8), 0, 0
    )
    shards = corpus.shards(size)
    assert [document for start, stop in shards for document in range(start, stop)] == list(range(count))
    for start, stop in shards:
        assert stop > start
        assert offsets[stop] - offsets[start] <= size or stop == start + 1
    for (start, stop), _ in pairwise(shards):
        assert offsets[stop + 1] - offsets[start] > size, "a shard takes what fits"


def test_shuffled_tokens_are_those_of_the_same_documents_in_another_order(spec: CorpusSpec, tmp_path: Path) -> None:
    store, shuffled = Store.in_folder(tmp_path), spec.model_copy(update={"shuffled": True})
    plain, mixed = tokenize_corpus(spec, byte_subject(), store, silent), tokenize_corpus(shuffled, byte_subject(), store, silent)
    assert plain.digest != mixed.digest
    np.testing.assert_array_equal(plain.offsets, mixed.offsets)
    np.testing.assert_array_equal(plain.splits, mixed.splits)
    rows = [(plain.tokens[start:stop], mixed.tokens[start:stop]) for start, stop in pairwise(plain.offsets)]
    for one, other in rows:
        np.testing.assert_array_equal(np.sort(one), np.sort(other))
    assert sum((one != other).mean() for one, other in rows) / len(rows) > 0.8
    part = tokenize_corpus(shuffled.model_copy(update={"max_tokens": 500}), byte_subject(), store, silent)
    np.testing.assert_array_equal(part.tokens, mixed.tokens[:500])
