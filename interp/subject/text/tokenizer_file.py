"""Fields of tokenizer.json, read without the tokenizers library, and the library's reader."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from interp.domain.errors import InputError, TokenizerMismatchError
from interp.security.foreign_config import FirstError, Foreign, Index, typed

CURE = "Save the tokenizer again with `save_pretrained`."
# Ids are 32-bit numbers in the library.
LARGEST_ID = 2**32


class Added(Foreign):
    """A token outside the vocabulary."""

    content: str
    id: Index
    special: bool = False


def _a_vocabulary(value: Any) -> Any:
    """Check the value, since pydantic would collect up to a million errors."""
    if isinstance(value, dict) and all(type(token) is int and 0 <= token < LARGEST_ID for token in value.values()):
        return value
    if isinstance(value, list) and all(isinstance(piece, list) and piece and isinstance(piece[0], str) for piece in value):
        return value
    raise ValueError("a vocabulary is a mapping of texts to ids, or a list of texts with their scores")


class Pieces(Foreign):
    """Model of a tokenizer: a mapping (BPE, WordPiece) or pairs of piece and score (Unigram)."""

    vocab: Annotated[Any, AfterValidator(_a_vocabulary)] = None
    type: str | None = None
    continuing_subword_prefix: str | None = None
    end_of_word_suffix: str | None = None


class TokenizerFile(Foreign):
    """Fields of tokenizer.json."""

    model: Pieces = Field(default_factory=Pieces)
    added_tokens: Annotated[list[Added], FirstError(), BeforeValidator(lambda value: value or [])] = Field(default_factory=list)
    decoder: Any = None
    pre_tokenizer: Any = None
    normalizer: Any = None

    def pieces(self) -> Iterator[tuple[int, str]]:
        """Yield (id, piece) of the vocabulary, without added tokens."""
        vocab = self.model.vocab
        if isinstance(vocab, dict):
            return ((token, piece) for piece, token in vocab.items())
        return ((token, piece[0]) for token, piece in enumerate(vocab))

    def special(self) -> set[int]:
        """Return the ids that the tokenizer marks as special."""
        return {added.id for added in self.added_tokens if added.special}

    @property
    def is_byte_level(self) -> bool:
        """Return whether its decoder is that of byte-level BPE."""
        return '"ByteLevel"' in json.dumps(self.decoder)

    @property
    def parts(self) -> str:
        """Return decoder, pre-tokenizer and normalizer as text, to search for names."""
        return json.dumps([self.decoder, self.pre_tokenizer, self.normalizer], ensure_ascii=False)


def of_content(content: dict[str, Any], source: Path | str) -> TokenizerFile:
    """Check the content of a tokenizer.json; raises TokenizerMismatchError."""
    file = typed(TokenizerFile, content, source, TokenizerMismatchError, CURE)
    if file.model.vocab is None:
        raise TokenizerMismatchError(f"{source} holds no vocabulary.", cure=CURE)
    return file


def open_backend(content: bytes) -> Any:
    """Open tokenizer.json by the library, without truncation and padding; raises TokenizerMismatchError."""
    from tokenizers import Tokenizer

    with guarded("The tokenizers library cannot open tokenizer.json."):
        backend = Tokenizer.from_buffer(content)
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = True
        return backend


@contextmanager
def guarded(what: str) -> Iterator[None]:
    """Turn errors and panics of the tokenizers library into TokenizerMismatchError."""
    try:
        with panics_as_errors():
            yield
    except InputError:
        raise
    except Exception as cause:  # the library, written in Rust, raises bare Exceptions; a MemoryError remains the cause
        raise TokenizerMismatchError(what, why=str(cause)[:200], cure=CURE) from cause


@contextmanager
def panics_as_errors() -> Iterator[None]:
    """Turn a panic of a Rust library, which would end the process, into a ValueError."""
    try:
        yield
    except BaseException as cause:
        if type(cause).__name__ != "PanicException":
            raise
        raise ValueError(f"The tokenizers library panicked: {cause}") from cause
