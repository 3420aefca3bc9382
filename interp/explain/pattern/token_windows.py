"""Evaluate attributes and flags of a batch of windows' tokens, on first use."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.domain.evidence import Contexts
from interp.explain.pattern.properties import BRACKETS, TokenProperties

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

# Codes of the attributes of a place.
MAX_INDENT, MAX_PLACE, MAX_ROW = 64, 32, 32

# Tails of several tokens are attributes only in vocabularies of single characters, of at most this size.
MOST_CHARACTERS = 160
TAILS = {"tail2": 2, "tail3": 3}


class TokenWindows:
    """N windows of W tokens, with results `[N, W]`.

    A code of -1 and a false flag mean "not so, or not visible in the window". tokens uint32 [N, W], lengths [N], positions [N] are as in `Contexts`.
    """

    def __init__(self, tokens: NDArray[np.uint32], lengths: NDArray[np.uint16], positions: NDArray[np.uint16], properties: TokenProperties) -> None:
        self.properties = properties
        self.shape = tokens.shape
        self.columns = np.arange(tokens.shape[1])
        inside = self.columns[None, :] < lengths[:, None].astype(np.int64)
        self.ids: Ints = np.where(inside, tokens.astype(np.int64), properties.size)
        self.usable: Mask = inside & ~properties.special[self.ids]
        self.row: Ints = positions.astype(np.int64)[:, None] + self.columns[None, :]  # offset in the row that the subject read
        self._shifted: dict[int, Ints] = {0: self.ids}
        self._attributes: dict[tuple[str, int], Ints] = {}
        self._flags: dict[tuple[str, int], Mask] = {}

    @classmethod
    def of(cls, contexts: Contexts, properties: TokenProperties) -> "TokenWindows":
        return cls(contexts.tokens, contexts.lengths, contexts.positions, properties)

    def at(self, offset: int) -> Ints:
        """Return the token at `offset`, the vocabulary's size beyond the window."""
        if offset not in self._shifted:
            shifted = np.full(self.shape, self.properties.size, dtype=np.int64)
            if offset < 0:
                shifted[:, -offset:] = self.ids[:, :offset]
            else:
                shifted[:, :-offset] = self.ids[:, offset:]
            self._shifted[offset] = shifted
        return self._shifted[offset]

    def attribute(self, name: str, offset: int = 0) -> Ints:
        """Return an attribute's code: of the token at `offset`, or the place (`PLACE_ATTRIBUTES`)."""
        key = (name, offset)
        if key not in self._attributes:
            if name == "token":
                ids = self.at(offset)
                self._attributes[key] = np.where(ids == self.properties.size, -1, ids)
            elif name in self.properties.codes:
                self._attributes[key] = self.properties.codes[name][self.at(offset)].astype(np.int64)
            else:
                self._attributes[key] = PLACE_ATTRIBUTES[name](self)
        return self._attributes[key]

    def flag(self, name: str, offset: int = 0) -> Mask:
        """Return a class of the token at `offset`, or a place's flag (`PLACE_FLAGS`)."""
        key = (name, offset)
        if key not in self._flags:
            is_class = name in self.properties.classes
            self._flags[key] = self.properties.classes[name][self.at(offset)] if is_class else PLACE_FLAGS[name](self)
        return self._flags[key]

    def seen(self, word: int, scope: str) -> Mask:
        """Return whether the word occurs earlier in the window or line."""
        last = self.last(self.attribute("word", -1) == word)
        return last > self.line_break_before if scope == "line" else last >= 0

    @cached_property
    def line_break_before(self) -> Ints:
        """Return the column after the last line break before each token; -1 for none."""
        return self.last(self.flag("newline", -1))

    @cached_property
    def distinct(self) -> tuple[Ints, Ints]:
        """Return the distinct tokens of all windows, and each token's index among them [N, W]."""
        present, places = np.unique(self.ids, return_inverse=True)
        return present, places.reshape(self.shape)

    def last(self, mask: Mask) -> Ints:
        """Return the last true entry's column up to each column; -1 for none."""
        return np.maximum.accumulate(np.where(mask, self.columns, -1), axis=1)

    def gather(self, values: NDArray[np.integer[Any]] | Mask, index: Ints) -> Ints:
        """Return `values` at `index` along each window; -1 where the index is -1."""
        return np.where(index >= 0, np.take_along_axis(values, np.maximum(index, 0), axis=1), -1)

    def previous(self, values: Ints) -> Ints:
        """Return `values` of the token before; -1 at a window's first."""
        before = np.full(self.shape, -1, dtype=np.int64)
        before[:, 1:] = values[:, :-1]
        return before

    def sum_before(self, counts: NDArray[np.int8]) -> Ints:
        """Return the sum of a token property over the tokens before."""
        values = counts[self.ids].astype(np.int64)
        return np.cumsum(values, axis=1) - values

    @cached_property
    def line_begin(self) -> Ints:
        """Return the column of the line break before the line; -1 where not visible."""
        return self.last(self.flag("newline"))

    @cached_property
    def has_text(self) -> Mask:
        text: Mask = self.attribute("suffix1") >= 0
        return text

    @cached_property
    def texts_in_line(self) -> Ints:
        """Return the number of tokens with text in the line so far; -1 where unknown."""
        count = np.cumsum(self.has_text & ~self.flag("newline"), axis=1)
        return np.where(self.line_begin >= 0, count - self.gather(count, self.line_begin), -1)

    @cached_property
    def indent_before(self) -> Ints:
        """Return the indentation of the line before; -1 where its beginning is not visible."""
        return self.gather(self.previous(self.attribute("indent")), self.line_begin)


def _tail(windows: TokenWindows, length: int) -> Ints:
    """Return the code of the last `length` tokens, with ids as digits, nearest last."""
    size = windows.properties.size
    if size > MOST_CHARACTERS:
        return np.full(windows.shape, -1, dtype=np.int64)
    code, known = np.zeros(windows.shape, dtype=np.int64), np.ones(windows.shape, dtype=np.bool_)
    for offset in range(1 - length, 1):
        ids = windows.at(offset)
        known &= ~windows.properties.special[ids] & (ids != size)
        code = code * size + ids
    return np.where(known, code, -1)


def _line_first(windows: TokenWindows) -> Ints:
    """Return the `word` code of the line's first word; a line break ends its line."""
    newline = windows.flag("newline")
    first = windows.gather(np.where(newline, -1, windows.attribute("word")), windows.last(windows.flag("line_start") | newline))
    return np.where(newline, windows.previous(first), first)


def _line_before(windows: TokenWindows) -> Ints:
    """Return the `suffix1` code of the last character of the line before."""
    return windows.gather(windows.gather(windows.attribute("suffix1"), windows.last(windows.has_text)), windows.line_begin)


def _indent(windows: TokenWindows) -> Ints:
    """Return the line's indentation columns, with blank tokens after the line break."""
    columns = windows.properties.indent
    own = np.where(windows.flag("newline"), columns[windows.ids] + np.where(windows.flag("blank", 1), columns[windows.at(1)], 0), -1)
    return np.minimum(windows.gather(own, windows.line_begin), MAX_INDENT - 1)


PLACE_ATTRIBUTES: dict[str, Callable[[TokenWindows], Ints]] = {
    "line_first": _line_first,
    "line_before": _line_before,
    "indent": _indent,
    # Indentation after a line break; -1 at other tokens.
    "break_indent": lambda windows: np.where(windows.flag("newline"), windows.attribute("indent"), -1),
    # Number of the word in its line, from 1.
    "place": lambda windows: np.minimum(np.where(windows.has_text, windows.texts_in_line, -1), MAX_PLACE - 1),
    "row": lambda windows: np.where(windows.row < MAX_ROW, windows.row, -1),
    "tail2": lambda windows: _tail(windows, TAILS["tail2"]),
    "tail3": lambda windows: _tail(windows, TAILS["tail3"]),
}


def _in_string(windows: TokenWindows) -> Mask:
    odd = np.zeros(windows.shape, dtype=np.bool_)
    for kind in (0, 1):
        before = windows.sum_before(windows.properties.quotes[kind])
        odd |= (before - np.maximum(windows.gather(before, windows.line_begin), 0)) % 2 == 1
    return odd


def _in_comment(windows: TokenWindows) -> Mask:
    found = windows.last(windows.properties.comment[windows.ids])
    return (found >= 0) & (found >= windows.line_begin)


def _inside(windows: TokenWindows, brackets: str) -> Mask:
    """Return whether a bracket that was opened in the window is still open."""
    depth = windows.sum_before(windows.properties.brackets[BRACKETS.index(brackets)])
    return depth > np.minimum(np.minimum.accumulate(depth, axis=1), 0)


def _repeated(windows: TokenWindows, keys: Ints) -> Mask:
    """Return whether an equal key occurs earlier in the same window."""
    numbers = np.arange(windows.shape[0])[:, None]
    _, first, inverse = np.unique(keys * windows.shape[0] + numbers, return_index=True, return_inverse=True)
    repeated: Mask = first[inverse.ravel()].reshape(windows.shape) < np.arange(keys.size).reshape(windows.shape)
    return repeated & windows.usable


def _continued(windows: TokenWindows) -> Mask:
    """Return whether the same token preceded the token earlier in the window."""
    size = windows.properties.size
    known: Mask = windows.at(-1) != size
    return known & _repeated(windows, windows.ids * (size + 1) + windows.at(-1))


PLACE_FLAGS: dict[str, Callable[[TokenWindows], Mask]] = {
    "line_start": lambda windows: windows.has_text & ~windows.flag("newline") & (windows.texts_in_line == 1),
    "deeper": lambda windows: (windows.indent_before >= 0) & (windows.attribute("indent") > windows.indent_before),
    "shallower": lambda windows: (windows.attribute("indent") >= 0) & (windows.attribute("indent") < windows.indent_before),
    "in_string": _in_string,
    "in_triple": lambda windows: windows.sum_before(windows.properties.quotes[2]) % 2 == 1,
    "in_comment": _in_comment,
    "in_round": lambda windows: _inside(windows, "()"),
    "in_square": lambda windows: _inside(windows, "[]"),
    "in_curly": lambda windows: _inside(windows, "{}"),
    "repeated": lambda windows: _repeated(windows, windows.ids),
    "continued": _continued,
}


def tail_tokens(name: str, code: int, size: int) -> list[int]:
    """Return a tail code's token ids in text order, for `size` tokens."""
    ids: list[int] = []
    for _ in range(TAILS[name]):
        code, token = divmod(code, size)
        ids.insert(0, token)
    return ids


# Attributes of a place whose codes are those of an attribute of a token.
TOKEN_ATTRIBUTES = {"line_first": "word", "line_before": "suffix1"}


def attribute_size(name: str, properties: TokenProperties) -> int:
    """Return the number of codes of an attribute."""
    places = {"indent": MAX_INDENT, "break_indent": MAX_INDENT, "place": MAX_PLACE, "row": MAX_ROW}
    if name in TAILS:
        return properties.size ** TAILS[name] if properties.size <= MOST_CHARACTERS else 0
    return places[name] if name in places else properties.code_count(TOKEN_ATTRIBUTES.get(name, name))
