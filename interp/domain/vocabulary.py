"""The vocabulary of a subject: token ids to text, without torch or transformers."""

import hashlib
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import msgpack


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The bytes of every token of a subject, and which ids are special (BOS and friends).

    Byte-level tokens may hold part of a character: `texts` joins them so that pieces always join to the text.
    """

    tokens: tuple[bytes, ...]
    special: frozenset[int]

    def __len__(self) -> int:
        return len(self.tokens)

    # By the digest: comparing the tokens takes milliseconds.
    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.digest == other.digest

    def text(self, token: int) -> str:
        """Return the text of one token; bytes that are no whole character become U+FFFD."""
        return self.tokens[token].decode("utf-8", errors="replace")

    def texts(self, ids: Iterable[int]) -> list[str]:
        """Return one string per token, which join to the decoded text: a character of several tokens is whole at its last token.

        The tokens before the last of such a character get the empty string. Bytes of no whole character (where a window begins in the middle of one)
        become U+FFFD.
        """
        pieces: list[str] = []
        pending = b""
        for token in ids:
            found = pending + self.tokens[token]
            try:  # nearly every token is whole characters
                text, pending = found.decode("utf-8"), b""
            except UnicodeDecodeError:
                text, pending = _decode_prefix(found)
            pieces.append(text)
        if pending and pieces:
            pieces[-1] += pending.decode("utf-8", errors="replace")
        return pieces

    @cached_property
    def strings(self) -> tuple[str, ...]:
        """`text` of every token, made once."""
        return tuple(token.decode("utf-8", errors="replace") for token in self.tokens)

    @cached_property
    def wholes(self) -> tuple[str | None, ...]:
        """The text of every token of whole characters, empty for a special token; None for a token with part of a character."""
        return tuple("" if token in self.special else _whole(text) for token, text in enumerate(self.tokens))

    @cached_property
    def digest(self) -> str:
        """sha256 of the tokens and the special ids."""
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
    """Return the text of all whole characters, and the bytes (three at most) that may begin another."""
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
    """Return whether the bytes are the start of an incomplete UTF-8 character."""
    lead = rest[0]
    needed = 2 if 0xC2 <= lead <= 0xDF else 3 if 0xE0 <= lead <= 0xEF else 4 if 0xF0 <= lead <= 0xF4 else 0
    return len(rest) < needed and all(0x80 <= byte <= 0xBF for byte in rest[1:])
