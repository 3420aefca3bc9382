"""Tokenizer of a subject, from tokenizer.json alone: text to ids, and bytes of ids."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.domain.errors import TokenizerMismatchError
from interp.domain.spec import SubjectSpec
from interp.domain.vocabulary import Vocabulary
from interp.security.bounded_json import TOKENIZER
from interp.subject.location import read_config, read_subject_bytes, read_subject_json
from interp.subject.shape import ModelShape
from interp.subject.text.library import library_bos
from interp.subject.text.special import check_bos, special_tokens
from interp.subject.text.tokenizer_file import TokenizerFile, guarded, of_content, open_backend

_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


@dataclass(frozen=True)
class TextEncoder:
    """A tokenizer with its vocabulary; `bos` is the first id of rows, or None."""

    backend: Any
    vocabulary: Vocabulary
    bos: int | None

    def encode_texts(self, texts: Sequence[str]) -> list[NDArray[np.uint32]]:
        """Return ids uint32 of texts, never special tokens; raises TokenizerMismatchError."""
        with guarded("The subject's tokenizer cannot encode the corpus."):
            encoded = self.backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(item.ids, dtype=np.uint32) for item in encoded]


def open_encoder(spec: SubjectSpec, config: dict[str, Any], shape: ModelShape) -> TextEncoder:
    """Open the tokenizer in the subject's files; raises FileMissingError and TokenizerMismatchError."""
    file = read_tokenizer(spec)
    check_fit(file, shape)
    backend = open_backend(read_subject_bytes(spec, "tokenizer.json"))
    tokens = special_tokens(spec, config, file)
    bos = check_bos(tokens.bos_id(*(library_bos(spec) or (tokens.bos,))), shape)
    special = file.special() | set(tokens.named.values())
    if bos is not None:
        special.add(bos)
    return TextEncoder(backend, vocabulary_of(file, special, shape.vocabulary), bos)


def bos_of(spec: SubjectSpec, *, library: bool, file: TokenizerFile | None = None) -> int | None:
    """Return the first id of a subject's rows, by its files or (`library`) AutoTokenizer.

    AutoTokenizer loads torch. `file` saves reading tokenizer.json again, which takes seconds with a quarter of a million pieces.
    Raises FileMissingError, SubjectError, TokenizerMismatchError.
    """
    config = read_config(spec)
    tokens = special_tokens(spec, config, file or read_tokenizer(spec))
    found = library_bos(spec) if library else None
    return check_bos(tokens.bos_id(*(found or (tokens.bos,))), ModelShape.from_config(config))


def read_tokenizer(spec: SubjectSpec) -> TokenizerFile:
    """Read tokenizer.json; raises FileMissingError and TokenizerMismatchError."""
    return of_content(read_subject_json(spec, "tokenizer.json", TokenizerMismatchError, TOKENIZER), f"{spec.model}: tokenizer.json")


def check_fit(file: TokenizerFile, shape: ModelShape) -> None:
    """Raise TokenizerMismatchError for a vocabulary, without added tokens, larger than the embedding."""
    largest = max((token for token, _ in file.pieces()), default=-1)
    if largest >= shape.vocabulary:
        raise TokenizerMismatchError(
            f"The tokenizer has ids up to {largest}, the subject embeds {shape.vocabulary}.",
            why="They come from different models.",
            cure="Put the tokenizer that the subject was trained with into its folder.",
        )


def vocabulary_of(file: TokenizerFile, special: set[int], size: int) -> Vocabulary:
    """Return the bytes of all ids below `size`; unknown ids are empty.

    Supported are byte-level BPE (Radford et al. 2019, the byte alphabet of GPT-2), SentencePiece (`▁` is a space, `<0xAB>` a byte), WordPiece (a
    piece without `##` begins a word, and gets the space before it) and BPE with a suffix at the end of words (`</w>`).
    """
    to_bytes = _reader(file)
    tokens = [b""] * size
    for token, piece in file.pieces():
        if token < size:
            tokens[token] = to_bytes(piece)
    spaced = to_bytes is _sentencepiece
    for added in file.added_tokens:
        if added.id < size:
            text = added.content.replace("▁", " ") if spaced and not added.special else added.content
            tokens[added.id] = text.encode()
    return Vocabulary(tuple(tokens), frozenset(token for token in special if token < size))


def _reader(file: TokenizerFile) -> Callable[[str], bytes]:
    parts, model = file.parts, file.model
    if '"ByteLevel"' in parts:
        return _byte_level
    if '"Metaspace"' in parts or "▁" in parts:
        return _sentencepiece
    if model.type == "WordPiece":
        prefix = model.continuing_subword_prefix or "##"
        return lambda piece: (piece[len(prefix) :] if piece.startswith(prefix) else f" {piece}").encode()
    suffix = model.end_of_word_suffix
    if suffix:
        return lambda piece: (f"{piece[: -len(suffix)]} " if piece.endswith(suffix) else piece).encode()
    return str.encode


def _byte_level(piece: str) -> bytes:
    alphabet = byte_alphabet()
    try:
        return bytes(alphabet[character] for character in piece)
    except KeyError:  # a token added as plain text
        return piece.encode()


def _sentencepiece(piece: str) -> bytes:
    byte = _BYTE_PIECE.fullmatch(piece)
    return bytes([int(byte[1], 16)]) if byte else piece.replace("▁", " ").encode()


@cache
def byte_alphabet() -> dict[str, int]:
    """Return GPT-2's byte per character: itself if printable, else the next free from U+0100."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    alphabet = {chr(byte): byte for byte in printable}
    others = [byte for byte in range(256) if byte not in printable]
    return alphabet | {chr(256 + place): byte for place, byte in enumerate(others)}
