"""Tokenizer files of an attacker: refused by name; panics of the library end no process."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from interp.domain.errors import InputError, SubjectError, TokenizerMismatchError
from interp.domain.spec import SubjectSpec
from interp.subject.location import read_config, subject_name
from interp.subject.text.library import library_bos
from interp.subject.text.tokenizer import bos_of, read_tokenizer
from interp.subject.text.tokenizer_file import guarded, open_backend
from tests.security.memory import peak
from tests.subject import tokenizers_of

MOST_MIB = 500


@pytest.fixture
def subject(tmp_path: Path) -> Path:
    return tokenizers_of.saved(tokenizers_of.byte_level(), tmp_path / "subject", {"bos_token": "<|bos|>"})


def refused(subject: Path) -> InputError:
    """The refusal of a subject whose files were changed."""
    with peak() as seen, pytest.raises(InputError) as caught:
        bos_of(SubjectSpec(model=str(subject)), library=False)
    assert seen.mib < MOST_MIB
    assert caught.value.cure
    assert len(str(caught.value)) < 2000
    return caught.value


def changed(subject: Path, name: str, **changes: Any) -> Path:
    path = subject / name
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(json.dumps(content | changes), encoding="utf-8")
    return subject


CHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    "a vocabulary of texts": ("tokenizer.json", {"model": {"vocab": {"a": "0"}}}),
    "ids below 0": ("tokenizer.json", {"model": {"vocab": {"a": -1}}}),
    "an id that is true": ("tokenizer.json", {"model": {"vocab": {"a": True}}}),
    "an id beyond 32 bits": ("tokenizer.json", {"model": {"vocab": {"a": 2**40}}}),
    "pieces without a text": ("tokenizer.json", {"model": {"vocab": [[1, 2]]}}),
    "a model that is a list": ("tokenizer.json", {"model": []}),
    "no model": ("tokenizer.json", {"model": None}),
    "a prefix that is a number": ("tokenizer.json", {"model": {"type": "WordPiece", "vocab": {"a": 0}, "continuing_subword_prefix": 3}}),
    "a suffix that is a list": ("tokenizer.json", {"model": {"vocab": {"a": 0}, "end_of_word_suffix": ["</w>"]}}),
    "added tokens of another type": ("tokenizer.json", {"added_tokens": [{"content": 3, "id": 0}]}),
    "many wrong added tokens": ("tokenizer.json", {"added_tokens": [3] * 200_000}),
    "an added id beyond 32 bits": ("tokenizer.json", {"added_tokens": [{"content": "x", "id": 2**40}]}),
    "half a character": ("tokenizer.json", {"model": {"vocab": {"\ud800": 0}}}),
    "a BOS that is a list": ("tokenizer_config.json", {"bos_token": ["<s>"]}),
    "a BOS that is an object of another kind": ("tokenizer_config.json", {"bos_token": {"content": 3}}),
    "a BOS that is a page": ("tokenizer_config.json", {"bos_token": "x" * 100_000}),
    "a class that is a number": ("tokenizer_config.json", {"tokenizer_class": 3}),
    "a BOS that is true": ("special_tokens_map.json", {"bos_token": True}),
    "an id that is a text": ("generation_config.json", {"bos_token_id": "0"}),
    "ids that are texts": ("config.json", {"eos_token_id": ["0"] * 100_000}),
    "a vocabulary of the model of 10^9": ("config.json", {"vocab_size": 10**9}),
}


@pytest.mark.parametrize("what", CHANGES)
def test_fields_of_another_type(subject: Path, what: str) -> None:
    name, changes = CHANGES[what]
    refused(changed(subject, name, **changes))


def test_a_tokenizer_of_a_hundred_million_values(subject: Path) -> None:
    (subject / "tokenizer.json").write_bytes(b'{"model":{"vocab":[' + b"[]," * 13_000_000 + b"[]]}}")
    assert "values" in refused(subject).why


def test_a_tokenizer_without_end(subject: Path) -> None:
    with (subject / "tokenizer.json").open("wb") as handle:
        handle.write(b'{"a":"')
        handle.truncate(4 << 30)
    assert "larger than" in refused(subject).why


@pytest.mark.parametrize("given", ["x" * 5000, "a\x00b\x1b[2J", "/", "\x00"])
def test_a_name_of_a_model_fits_its_column(subject: Path, given: str) -> None:
    changed(subject, "config.json", _name_or_path=given)
    spec = SubjectSpec(model=str(subject), weights="random")
    name = subject_name(spec, read_config(spec))
    assert name.isprintable()
    assert 0 < len(name) < 255


@pytest.mark.parametrize("given", [3, ["x"], {"a": "b"}])
def test_a_name_of_a_model_that_is_none(subject: Path, given: Any) -> None:
    spec = SubjectSpec(model=str(changed(subject, "config.json", _name_or_path=given)))
    with pytest.raises(SubjectError, match="_name_or_path"):
        subject_name(spec, read_config(spec))


def test_ids_of_other_files_that_are_allowed(subject: Path) -> None:
    """Llama names several ends, and a padding of -1."""
    changed(changed(subject, "generation_config.json", eos_token_id=[1, 2]), "config.json", pad_token_id=-1)
    assert bos_of(SubjectSpec(model=str(subject)), library=False) == 0


class PanicException(BaseException):
    """As pyo3 raises it for a panic in Rust."""


def test_a_panic_of_the_library_is_a_refusal() -> None:
    with pytest.raises(TokenizerMismatchError, match="index out of bounds"), guarded("It cannot encode."):
        raise PanicException("index out of bounds")
    with pytest.raises(KeyboardInterrupt), guarded("never"):
        raise KeyboardInterrupt


def test_a_panic_while_autotokenizer_reads_leaves_the_files_to_tell(subject: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def panicking(*_: Any, **__: Any) -> Any:
        raise PanicException("index out of bounds")

    stub = SimpleNamespace(AutoTokenizer=SimpleNamespace(from_pretrained=panicking))
    monkeypatch.setitem(sys.modules, "transformers", stub)
    assert library_bos(SubjectSpec(model=str(subject))) is None


def test_what_the_library_alone_refuses(subject: Path) -> None:
    changed(subject, "tokenizer.json", normalizer={"type": "Precompiled", "precompiled_charsmap": "////"})
    read_tokenizer(SubjectSpec(model=str(subject)))
    with pytest.raises(TokenizerMismatchError, match="cannot open"):
        open_backend((subject / "tokenizer.json").read_bytes())
