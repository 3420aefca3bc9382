"""The vocabulary of a subject: token ids to text, without torch or transformers."""

import codecs
import hashlib
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import msgpack


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Bytes of each token of a subject (possibly parts of characters), and its special ids."""

    tokens: tuple[bytes, ...]
    special: frozenset[int]

    def __len__(self) -> int:
        return len(self.tokens)

    # By the digest, because comparing the tokens takes milliseconds.
    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.digest == other.digest

    def text(self, token: int) -> str:
        """Return the text of one token; bytes of incomplete characters become U+FFFD."""
        return self.tokens[token].decode("utf-8", errors="replace")

    def texts(self, ids: Iterable[int]) -> list[str]:
        """Return one string per token; together they join to the decoded text.

        A character of several tokens is whole at its last token; those before get the empty string. Bytes of incomplete characters become U+FFFD.
        """
        pieces: list[str] = []
        pending = b""
        for token in ids:
            found = pending + self.tokens[token]
            text, used = codecs.utf_8_decode(found, "replace", False)
            pending = found[used:]
            pieces.append(text)
        if pending and pieces:
            pieces[-1] += pending.decode("utf-8", errors="replace")
        return pieces

    @cached_property
    def strings(self) -> tuple[str, ...]:
        return tuple(token.decode("utf-8", errors="replace") for token in self.tokens)

    @cached_property
    def wholes(self) -> tuple[str | None, ...]:
        """Return each token's text: empty for special tokens, None for parts of characters."""
        return tuple("" if token in self.special else _whole(text) for token, text in enumerate(self.tokens))

    @cached_property
    def digest(self) -> str:
        """Return the sha256 of the tokens and the special ids."""
        return hashlib.sha256(self._packed()).hexdigest()

    def _packed(self) -> bytes:
        packed: bytes = msgpack.packb({"version": 1, "tokens": list(self.tokens), "special": sorted(self.special)})
        return packed

    def to_bytes(self) -> bytes:
        return zlib.compress(self._packed(), 6)

    @classmethod
    def from_bytes(cls, blob: bytes) -> "Vocabulary":
        content = msgpack.unpackb(zlib.decompress(blob))
        return cls(tuple(content["tokens"]), frozenset(content["special"]))


def _whole(token: bytes) -> str | None:
    try:
        return token.decode("utf-8")
    except UnicodeDecodeError:
        return None
