"""A corpus of messages is tokenised by the subject's chat template."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from interp.corpus.documents import LineBrokenError, index
from interp.corpus.listing import list_files
from interp.corpus.local_copies import local_copies
from interp.corpus.tokenized import tokenize_corpus
from interp.domain.errors import CorpusError
from interp.domain.spec import CorpusSpec
from interp.domain.vocabulary import Vocabulary
from interp.files.artifact_store import Store
from interp.security.allowed_files import Roots, within
from interp.subject.text.chat import open_chat
from tests.subject.text.test_chat import write

CHATS = [[{"role": "user", "content": f"question {number}"}, {"role": "assistant", "content": "answer"}] for number in range(12)]


@pytest.fixture(autouse=True)
def _roots(tmp_path: Path):
    with within(Roots((str(tmp_path),))):
        yield


def as_lines(path: Path, chats: Any) -> None:
    path.write_text("".join(json.dumps({"messages": chat, "id": 3}) + "\n" for chat in chats))


def as_parquet(path: Path, chats: Any) -> None:
    parquet.write_table(pyarrow.table({"messages": chats}), path)


@pytest.mark.parametrize(("name", "save"), [("chats.jsonl", as_lines), ("chats.parquet", as_parquet)])
def test_ids_are_those_of_the_template(tmp_path: Path, name: str, save: Any) -> None:
    save(tmp_path / name, CHATS)
    (tmp_path / "model").mkdir()
    chat = open_chat(write(tmp_path / "model"))
    spec = CorpusSpec(path=str(tmp_path / name), text_field="messages", chat=True)
    found = index(spec, local_copies(list_files(spec), spec, tmp_path / "cache"))
    subject: Any = SimpleNamespace(digest="d", vocabulary=Vocabulary((b"x",) * 1000, frozenset()))
    corpus = tokenize_corpus(spec, subject, Store.in_folder(tmp_path / "store"), lambda _: None, found, chat)
    rows = {tuple(corpus.tokens[start:stop].tolist()) for start, stop in zip(corpus.offsets, corpus.offsets[1:], strict=False)}
    assert rows == {tuple(chat.encode(messages).tolist()) for messages in CHATS}


@pytest.mark.parametrize("bad", ["text", [], [{"role": "user"}], [{"role": 1, "content": "a"}], {"role": "user", "content": "a"}, None])
def test_what_is_no_list_of_messages_is_a_broken_line(tmp_path: Path, bad: Any) -> None:
    as_lines(tmp_path / "a.jsonl", [*CHATS, bad])
    spec = CorpusSpec(path=str(tmp_path / "a.jsonl"), text_field="messages", chat=True)
    with pytest.raises(LineBrokenError, match=r"a\.jsonl:13 has no list of messages"):
        index(spec)
    assert index(spec.model_copy(update={"broken_share": 0.1})).broken == 1


def test_text_files_hold_no_messages(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("user: hello")
    with pytest.raises(CorpusError, match="is text, not messages"):
        index(CorpusSpec(path=str(tmp_path / "a.txt"), chat=True))
