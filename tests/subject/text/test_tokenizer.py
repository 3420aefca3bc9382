"""The vocabulary's bytes join to the text, whatever kind of tokenizer; special tokens are known, and text cannot forge them."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interp.domain.errors import FileMissingError, TokenizerMismatchError
from interp.domain.spec import SubjectSpec
from interp.security.bounded_json import read_json
from interp.subject.shape import ModelShape
from interp.subject.text.tokenizer import TextEncoder, byte_alphabet, open_encoder
from tests.subject import tokenizers_of
from tests.subject.tokenizers_of import TEXTS, saved

BYTE_LEVEL = {"bos_token": "<|bos|>", "eos_token": {"content": "<|bos|>"}}


def encoder_of(folder: Path) -> TextEncoder:
    config = read_json(folder / "config.json")
    return open_encoder(SubjectSpec(model=str(folder)), config, ModelShape.from_config(config))


def joined(encoder: TextEncoder, text: str) -> str:
    return "".join(encoder.vocabulary.texts(encoder.encode_texts([text])[0].tolist()))


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> TextEncoder:
    return encoder_of(saved(tokenizers_of.byte_level(), tmp_path_factory.mktemp("byte_level"), BYTE_LEVEL))


def test_the_byte_alphabet_is_that_of_the_tokenizers_library() -> None:
    from tokenizers import pre_tokenizers

    alphabet = byte_alphabet()
    assert set(alphabet) == set(pre_tokenizers.ByteLevel.alphabet())
    assert sorted(alphabet.values()) == list(range(256))
    assert (alphabet["Ġ"], alphabet["Ċ"], alphabet["a"]) == (32, 10, 97)


@given(st.text())
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_byte_level_pieces_join_to_any_text(byte_level: TextEncoder, text: str) -> None:
    assert joined(byte_level, text) == text


def test_a_character_split_over_tokens_shows_whole_at_its_last_token(byte_level: TextEncoder) -> None:
    ids = [byte_level.vocabulary.tokens.index(bytes([byte])) for byte in "ā🤖".encode()]
    assert byte_level.vocabulary.texts(ids) == ["", "ā", "", "", "", "🤖"]
    assert byte_level.backend.decode(ids) == "ā🤖"


@pytest.mark.parametrize("text", TEXTS)
def test_sentencepiece_joins_but_for_the_space_it_puts_first(tmp_path: Path, text: str) -> None:
    encoder = encoder_of(saved(tokenizers_of.sentencepiece(), tmp_path, {"bos_token": "<s>", "eos_token": "</s>"}))
    assert joined(encoder, text) == " " + text
    assert encoder.bos == 1
    assert encoder.vocabulary.special == {0, 1, 2}
    assert encoder.vocabulary.tokens[3 + 0xE2] == b"\xe2"


@pytest.mark.parametrize("text", TEXTS)
def test_unigram(tmp_path: Path, text: str) -> None:
    tokenizer = tokenizers_of.unigram()
    encoder = encoder_of(saved(tokenizer, tmp_path, {"bos_token": "<s>"}))
    assert joined(encoder, text) == " " + tokenizer.decode(tokenizer.encode(text).ids)


@pytest.mark.parametrize("text", TEXTS)
def test_word_piece(tmp_path: Path, text: str) -> None:
    tokenizer = tokenizers_of.word_piece()
    encoder = encoder_of(saved(tokenizer, tmp_path, {"cls_token": "[CLS]", "unk_token": "[UNK]"}))
    assert joined(encoder, text) == " " + tokenizer.decode(tokenizer.encode(text).ids)
    assert encoder.bos is None


def test_no_special_token_comes_from_the_text(byte_level: TextEncoder) -> None:
    ids = byte_level.encode_texts(["a <|bos|> b"])[0].tolist()
    assert byte_level.bos == 0
    assert not byte_level.vocabulary.special & set(ids)
    assert joined(byte_level, "a <|bos|> b") == "a <|bos|> b"


def test_several_special_tokens_beyond_the_embedding_are_text(tmp_path: Path) -> None:
    """A chat tokenizer on a base model: tokens were added after training, and have no rows."""
    tokenizer = tokenizers_of.byte_level()
    size = tokenizer.get_vocab_size()
    tokenizer.add_special_tokens(["<|start|>", "<|end|>"])
    encoder = encoder_of(saved(tokenizer, tmp_path, {"bos_token": "<|bos|>"}, vocab_size=size))
    text = "<|start|>a<|end|><|bos|><|end|>"
    assert joined(encoder, text) == text
    assert encoder.vocabulary.special == {0}
    assert max(encoder.encode_texts([text])[0]) < size == len(encoder.vocabulary)


def test_ids_beyond_the_tokenizer_are_empty(tmp_path: Path) -> None:
    tokenizer = tokenizers_of.byte_level()
    size = tokenizer.get_vocab_size()
    encoder = encoder_of(saved(tokenizer, tmp_path, BYTE_LEVEL, vocab_size=size + 28))
    assert len(encoder.vocabulary) == size + 28
    assert encoder.vocabulary.tokens[size:] == (b"",) * 28


def test_a_tokenizer_of_another_model(tmp_path: Path) -> None:
    folder = saved(tokenizers_of.byte_level(), tmp_path, BYTE_LEVEL, vocab_size=100)
    with pytest.raises(TokenizerMismatchError, match=r"ids up to \d+, the subject embeds 100"):
        encoder_of(folder)


def test_a_damaged_or_missing_tokenizer(tmp_path: Path) -> None:
    folder = saved(tokenizers_of.byte_level(), tmp_path, BYTE_LEVEL)
    (folder / "tokenizer.json").write_text(json.dumps({"model": {}}), encoding="utf-8")
    with pytest.raises(TokenizerMismatchError, match="no vocabulary"):
        encoder_of(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(FileMissingError, match=r"tokenizer\.json"):
        encoder_of(folder)


def test_ids_stand_in_config_where_the_tokenizer_does_not_name_them(tmp_path: Path) -> None:
    folder = saved(tokenizers_of.byte_level(), tmp_path, {}, bos_token_id=0, pad_token_id=7)
    (folder / "tokenizer_config.json").unlink()
    encoder = encoder_of(folder)
    assert encoder.bos == 0
    assert encoder.vocabulary.special == {0, 7}
