"""The vocabulary of a subject: token ids to text, without torch or transformers."""

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
            try:  # nearly all tokens are whole characters
                text, pending = found.decode("utf-8"), b""
            except UnicodeDecodeError:
                text, pending = _decode_prefix(found)
            pieces.append(text)
        if pending and pieces:
            pieces[-1] += pending.decode("utf-8", errors="replace")
        return pieces

    @cached_property
    def strings(self) -> tuple[str, ...]:
        """Return the text of each token."""
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


def _decode_prefix(data: bytes) -> tuple[str, bytes]:
    """Return the text of all whole characters, and the bytes (three at most) after them."""
    for tail in range(min(4, len(data) + 1)):
        head, rest = data[: len(data) - tail], data[len(data) - tail :]
        if tail and not _may_begin_character(rest):
            continue
        try:
            return head.decode("utf-8"), rest
        except UnicodeDecodeError:
            continue
    return data.decode("utf-8", errors="replace"), b""


def _may_begin_character(rest: bytes) -> bool:
    lead = rest[0]
    needed = 2 if 0xC2 <= lead <= 0xDF else 3 if 0xE0 <= lead <= 0xEF else 4 if 0xF0 <= lead <= 0xF4 else 0
    return len(rest) < needed and all(0x80 <= byte <= 0xBF for byte in rest[1:])
