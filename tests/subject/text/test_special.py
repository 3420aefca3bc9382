"""The token that leads every row is the one that AutoTokenizer gives, wherever the files name it; files alone tell the same."""

import json
from pathlib import Path
from typing import Any

import pytest

from interp.domain.errors import TokenizerMismatchError
from interp.domain.spec import SubjectSpec
from interp.subject.text.library import library_bos
from interp.subject.text.tokenizer import bos_of
from tests.subject import tokenizers_of
from tests.subject.tokenizers_of import saved

BOS = 0  # of tokenizers_of.byte_level: `<|bos|>`


def renamed(bos: str) -> Any:
    """The byte-level tokenizer with another text for its BOS."""
    from tokenizers import Tokenizer

    return Tokenizer.from_str(tokenizers_of.byte_level().to_str().replace("<|bos|>", bos))


def decisions(folder: Path) -> tuple[int | None, int | None]:
    """(from files alone, with AutoTokenizer)."""
    spec = SubjectSpec(model=str(folder))
    return bos_of(spec, library=False), bos_of(spec, library=True)


ADDED = {"0": {"content": "<|bos|>", "special": True}}
NAMES: dict[str, tuple[str, dict[str, Any] | None, dict[str, Any] | None, dict[str, Any], int | None]] = {
    # what: (BOS in the vocabulary, tokenizer_config.json, special_tokens_map.json, config.json, expected)
    "gpt2 as the Hub has it": ("<|endoftext|>", {"model_max_length": 64}, None, {"model_type": "gpt2"}, BOS),
    "gpt2 without tokenizer_config": ("<|endoftext|>", None, None, {"model_type": "gpt2", "bos_token_id": 0}, BOS),
    "the class of the tokenizer": ("<|endoftext|>", {"tokenizer_class": "GPTNeoXTokenizerFast"}, None, {"model_type": "gpt_neox"}, BOS),
    "special_tokens_map": ("<|bos|>", {}, {"bos_token": "<|bos|>"}, {}, BOS),
    "special_tokens_map, as an object": ("<|bos|>", {}, {"bos_token": {"content": "<|bos|>", "lstrip": False}}, {}, BOS),
    "special_tokens_map over tokenizer_config": ("<|bos|>", {"bos_token": None}, {"bos_token": "<|bos|>"}, {}, BOS),
    "special_tokens_map is history": ("<|bos|>", {"bos_token": None, "added_tokens_decoder": ADDED}, {"bos_token": "<|bos|>"}, {}, None),
    "null in tokenizer_config": ("<|bos|>", {"bos_token": None}, None, {"bos_token_id": 0}, None),
    "config.json": ("<|bos|>", {}, None, {"bos_token_id": 0}, BOS),
    "config.json, a plain token": ("<|bos|>", {}, None, {"bos_token_id": 7}, None),
    "text_config": ("<|bos|>", {}, None, {"text_config": {"model_type": "llama", "bos_token_id": 0}}, BOS),
    "a class whose BOS the vocabulary lacks": ("<|bos|>", {"tokenizer_class": "GPT2Tokenizer"}, None, {"model_type": "gpt2"}, None),
    "Qwen has none": ("<|endoftext|>", {"bos_token": None, "tokenizer_class": "Qwen2Tokenizer"}, None, {"model_type": "qwen2"}, None),
    "Llama 3": ("<|bos|>", {"tokenizer_class": "LlamaTokenizer", "bos_token": "<|bos|>"}, None, {}, BOS),
}


@pytest.mark.parametrize("name", NAMES)
def test_the_bos_is_that_of_autotokenizer(tmp_path: Path, name: str) -> None:
    text, settings, special, config, expected = NAMES[name]
    folder = saved(renamed(text), tmp_path, settings or {}, **config)
    if settings is None:
        (folder / "tokenizer_config.json").unlink()
    if special is not None:
        (folder / "special_tokens_map.json").write_text(json.dumps(special), encoding="utf-8")
    assert library_bos(SubjectSpec(model=str(folder))) is not None
    assert decisions(folder) == (expected, expected)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("tokenizer.json", "{"),
        ("tokenizer.json", "{}"),
        ("tokenizer.json", "[]"),
        ("tokenizer.json", '{"added_tokens": [], "model": {"type": "Nope"}}'),
        ("tokenizer_config.json", "[]"),
        ("tokenizer_config.json", '{"bos_token": 5}'),
        ("config.json", "{"),
    ],
)
def test_files_that_autotokenizer_cannot_use_give_no_word_of_it(tmp_path: Path, file: str, content: str) -> None:
    folder = saved(tokenizers_of.byte_level(), tmp_path, {})
    (folder / file).write_text(content, encoding="utf-8")
    assert library_bos(SubjectSpec(model=str(folder))) is None


@pytest.mark.parametrize("error", [MemoryError("no room"), AssertionError("a defect"), RecursionError("a defect")])
def test_what_is_not_about_the_files_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", fail)
    with pytest.raises(type(error)):
        library_bos(SubjectSpec(model=str(saved(tokenizers_of.byte_level(), tmp_path, {}))))


def test_generation_config_names_one_too(tmp_path: Path) -> None:
    folder = saved(tokenizers_of.byte_level(), tmp_path, {})
    (folder / "generation_config.json").write_text('{"bos_token_id": 0}', encoding="utf-8")
    assert decisions(folder) == (BOS, BOS)


def test_a_bos_beyond_the_embedding_is_refused(tmp_path: Path) -> None:
    tokenizer = tokenizers_of.byte_level()
    size = tokenizer.get_vocab_size()
    tokenizer.add_special_tokens(["<s>"])
    folder = saved(tokenizer, tmp_path, {"bos_token": "<s>"}, vocab_size=size)
    with pytest.raises(TokenizerMismatchError, match=f"The BOS has id {size}, the subject embeds {size}") as refused:
        bos_of(SubjectSpec(model=str(folder)), library=False)
    assert "bos_token" in refused.value.cure


def test_a_bos_that_is_no_token_is_refused(tmp_path: Path) -> None:
    folder = saved(tokenizers_of.byte_level(), tmp_path, {"bos_token": "<none>"})
    with pytest.raises(TokenizerMismatchError, match="'<none>' is not in its vocabulary"):
        bos_of(SubjectSpec(model=str(folder)), library=False)
