"""A subject's tokenizer: text to ids, and the bytes that every id stands for. Reads tokenizer.json alone, without transformers."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.errors import TokenizerMismatch
from interp.json_files import TOKENIZER
from interp.spec import SubjectSpec
from interp.subject.library import library_bos
from interp.subject.location import read_config, read_subject_bytes, read_subject_json
from interp.subject.shape import ModelShape
from interp.subject.special import check_bos, pieces, special_tokens
from interp.vocabulary import Vocabulary

_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


@dataclass(frozen=True)
class TextEncoder:
    """A tokenizer with the vocabulary it speaks. `bos` is the id that leads every row, None where the tokenizer has none."""

    backend: Any
    vocabulary: Vocabulary
    bos: int | None

    def encode_texts(self, texts: Sequence[str]) -> list[NDArray[np.uint32]]:
        """uint32 ids of each text. No special token comes in: not added, and not when the text spells one."""
        encoded = self.backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(item.ids, dtype=np.uint32) for item in encoded]


def open_encoder(spec: SubjectSpec, config: dict[str, Any], shape: ModelShape) -> TextEncoder:
    """The tokenizer in the subject's own files. Raises FileMissing, TokenizerMismatch."""
    from tokenizers import Tokenizer

    content = read_tokenizer(spec)
    check_fit(content, shape)
    backend = Tokenizer.from_buffer(read_subject_bytes(spec, "tokenizer.json"))
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True
    tokens = special_tokens(spec, config, content)
    bos = check_bos(tokens.bos_id(*(library_bos(spec) or (tokens.bos,))), shape)
    special = {token["id"] for token in content["added_tokens"] if token["special"]} | set(tokens.named.values())
    if bos is not None:
        special.add(bos)
    return TextEncoder(backend, vocabulary_of(content, special, shape.vocabulary), bos)


def bos_of(spec: SubjectSpec, *, library: bool) -> int | None:
    """The id that leads every row of a subject: what AutoTokenizer gives, or what the files alone tell; without `library` torch is not loaded.

    Raises FileMissing, SubjectError, TokenizerMismatch.
    """
    config = read_config(spec)
    tokens = special_tokens(spec, config, read_tokenizer(spec))
    told = library_bos(spec) if library else None
    return check_bos(tokens.bos_id(*(told or (tokens.bos,))), ModelShape.from_config(config))


def read_tokenizer(spec: SubjectSpec) -> dict[str, Any]:
    """The content of tokenizer.json. Raises FileMissing, TokenizerMismatch when it cannot be read."""
    path = f"{spec.model}: tokenizer.json"
    content = read_subject_json(spec, "tokenizer.json", TokenizerMismatch, TOKENIZER)
    model = content.get("model")
    if not isinstance(model, dict) or not _is_vocabulary(model.get("vocab")):
        raise TokenizerMismatch(f"{path} holds no vocabulary.", cure="Save the tokenizer again with `save_pretrained`.")
    added = content.get("added_tokens") or []
    if not isinstance(added, list) or not all(_is_added(token) for token in added):
        raise TokenizerMismatch(f"{path}: added_tokens cannot be read.", cure="Save the tokenizer again with `save_pretrained`.")
    content["added_tokens"] = [{"special": False, **token} for token in added]
    return content


def _is_vocabulary(vocab: Any) -> bool:
    if isinstance(vocab, dict):
        return all(isinstance(token, int) and token >= 0 for token in vocab.values())
    return isinstance(vocab, list) and all(isinstance(piece, list) and piece and isinstance(piece[0], str) for piece in vocab)


def _is_added(token: Any) -> bool:
    return isinstance(token, dict) and isinstance(token.get("content"), str) and isinstance(token.get("id"), int) and token["id"] >= 0


def check_fit(content: dict[str, Any], shape: ModelShape) -> None:
    """Raises TokenizerMismatch when the tokenizer's own vocabulary (added tokens apart) reaches beyond the embedding."""
    largest = max((token for token, _ in pieces(content["model"]["vocab"])), default=-1)
    if largest >= shape.vocabulary:
        raise TokenizerMismatch(
            f"The tokenizer has ids up to {largest}, the subject embeds {shape.vocabulary}.",
            why="They come from different models.",
            cure="Put the tokenizer that the subject was trained with into its folder.",
        )


def vocabulary_of(content: dict[str, Any], special: set[int], size: int) -> Vocabulary:
    """The bytes of every id below `size`; ids that the tokenizer does not know are empty.

    Byte-level BPE (Radford et al. 2019, the byte alphabet of GPT-2), SentencePiece (`▁` is a space, `<0xAB>` a byte), WordPiece (a piece
    without `##` begins a word, and gets the space before it) and BPE with a suffix at the end of words (`</w>`).
    """
    to_bytes = _reader(content)
    tokens = [b""] * size
    for token, piece in pieces(content["model"]["vocab"]):
        if token < size:
            tokens[token] = to_bytes(piece)
    spaced = to_bytes is _sentencepiece
    for added in content["added_tokens"]:
        if added["id"] < size:
            text = added["content"].replace("▁", " ") if spaced and not added["special"] else added["content"]
            tokens[added["id"]] = text.encode()
    return Vocabulary(tuple(tokens), frozenset(token for token in special if token < size))


def _reader(content: dict[str, Any]) -> Callable[[str], bytes]:
    parts = json.dumps([content.get("decoder"), content.get("pre_tokenizer"), content.get("normalizer")], ensure_ascii=False)
    model = content["model"]
    if '"ByteLevel"' in parts:
        return _byte_level
    if '"Metaspace"' in parts or "▁" in parts:
        return _sentencepiece
    if model.get("type") == "WordPiece":
        prefix = model.get("continuing_subword_prefix") or "##"
        return lambda piece: (piece[len(prefix) :] if piece.startswith(prefix) else f" {piece}").encode()
    suffix = model.get("end_of_word_suffix")
    if suffix:
        return lambda piece: (f"{piece[: -len(suffix)]} " if piece.endswith(suffix) else piece).encode()
    return str.encode


def _byte_level(piece: str) -> bytes:
    alphabet = byte_alphabet()
    try:
        return bytes(alphabet[character] for character in piece)
    except KeyError:  # a token that was added as plain text
        return piece.encode()


def _sentencepiece(piece: str) -> bytes:
    byte = _BYTE_PIECE.fullmatch(piece)
    return bytes([int(byte[1], 16)]) if byte else piece.replace("▁", " ").encode()


@cache
def byte_alphabet() -> dict[str, int]:
    """The character that GPT-2's byte-level BPE writes for each byte: itself where printable, else the next free one from U+0100."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    alphabet = {chr(byte): byte for byte in printable}
    others = [byte for byte in range(256) if byte not in printable]
    return alphabet | {chr(256 + place): byte for place, byte in enumerate(others)}
