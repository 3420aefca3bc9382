"""A batch of windows as rules see it: every question that a literal may ask, answered for all tokens at once and kept."""

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.domain.evidence import Contexts
from interp.explain.pattern.properties import BRACKETS, TokenProperties

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

# Codes of the attributes that belong to a place and not to a token.
MAX_INDENT, MAX_PLACE, MAX_ROW = 64, 32, 32

# Tails of several tokens are asked for where tokens are single characters: vocabularies of at most so many.
MOST_CHARACTERS = 160
TAILS = {"tail2": 2, "tail3": 3}


class TokenWindows:
    """N windows of W tokens. All answers are `[N, W]`; a code of -1 and a false flag mean "not so, or not to be seen in the window".

    tokens uint32 [N, W], lengths [N], positions [N] are as in `Contexts`.
    """

    def __init__(self, tokens: NDArray[np.uint32], lengths: NDArray[np.uint16], positions: NDArray[np.uint16], properties: TokenProperties) -> None:
        self.properties = properties
        self.shape = tokens.shape
        self.columns = np.arange(tokens.shape[1])
        inside = self.columns[None, :] < lengths[:, None].astype(np.int64)
        self.ids: Ints = np.where(inside, tokens.astype(np.int64), properties.size)
        self.usable: Mask = inside & ~properties.special[self.ids]
        self._positions = positions.astype(np.int64)
        self._shifted: dict[int, Ints] = {0: self.ids}
        self._attributes: dict[tuple[str, int], Ints] = {}
        self._flags: dict[tuple[str, int], Mask] = {}

    @classmethod
    def of(cls, contexts: Contexts, properties: TokenProperties) -> "TokenWindows":
        return cls(contexts.tokens, contexts.lengths, contexts.positions, properties)

    def at(self, offset: int) -> Ints:
        """The token `offset` places on (negative: before); the vocabulary's size where the window ends."""
        if offset not in self._shifted:
            shifted = np.full(self.shape, self.properties.size, dtype=np.int64)
            if offset < 0:
                shifted[:, -offset:] = self.ids[:, :offset]
            else:
                shifted[:, :-offset] = self.ids[:, offset:]
            self._shifted[offset] = shifted
        return self._shifted[offset]

    def attribute(self, name: str, offset: int) -> Ints:
        """The code of a named attribute: of the token at `offset`, or of the place (`line_first`, `line_before`, `indent`, `place`, `row`)."""
        key = (name, offset)
        if key not in self._attributes:
            if name == "token":
                ids = self.at(offset)
                self._attributes[key] = np.where(ids == self.properties.size, -1, ids)
            elif name in self.properties.codes:
                self._attributes[key] = self.properties.codes[name][self.at(offset)].astype(np.int64)
            else:
                self._attributes[key] = getattr(self, f"_{name}")
        return self._attributes[key]

    def flag(self, name: str, offset: int) -> Mask:
        """A class of the token at `offset`, or a fact of the place (`in_string`, `line_start`, `repeated`...)."""
        key = (name, offset)
        if key not in self._flags:
            if name in self.properties.classes:
                self._flags[key] = self.properties.classes[name][self.at(offset)]
            else:
                self._flags[key] = getattr(self, f"_{name}")
        return self._flags[key]

    def seen(self, word: int, scope: str) -> Mask:
        """Whether the word stands somewhere earlier in the window, or earlier in the line."""
        last = self._last(self.attribute("word", -1) == word)
        return last > self.line_break_before if scope == "line" else last >= 0

    @cached_property
    def line_break_before(self) -> Ints:
        """One more than the column of the last line break before each token; -1 for none. A line break belongs to the line that it ends."""
        return self._last(self.flag("newline", -1))

    @cached_property
    def distinct(self) -> tuple[Ints, Ints]:
        """The different tokens of all windows, and the place of each token among them [N, W]."""
        present, places = np.unique(self.ids, return_inverse=True)
        return present, places.reshape(self.shape)

    @cached_property
    def row(self) -> Ints:
        """Offset in the row that the subject read."""
        return self._positions[:, None] + self.columns[None, :]

    def _tail(self, length: int) -> Ints:
        """Code of the last `length` tokens up to each, itself included: their ids as the digits of a number, the nearest last."""
        size = self.properties.size
        if size > MOST_CHARACTERS:
            return np.full(self.shape, -1, dtype=np.int64)
        code, known = np.zeros(self.shape, dtype=np.int64), np.ones(self.shape, dtype=np.bool_)
        for offset in range(1 - length, 1):
            ids = self.at(offset)
            known &= ~self.properties.special[ids] & (ids != size)
            code = code * size + ids
        return np.where(known, code, -1)

    @cached_property
    def _tail2(self) -> Ints:
        return self._tail(TAILS["tail2"])

    @cached_property
    def _tail3(self) -> Ints:
        return self._tail(TAILS["tail3"])

    # Places: lines.

    def _last(self, mask: Mask) -> Ints:
        """Column of the last true entry at or before each column; -1 for none."""
        return np.maximum.accumulate(np.where(mask, self.columns, -1), axis=1)

    def _gather(self, values: NDArray[np.integer[Any]] | Mask, index: Ints) -> Ints:
        """`values` at `index` along each window; -1 where the index is."""
        return np.where(index >= 0, np.take_along_axis(values, np.maximum(index, 0), axis=1), -1)

    @cached_property
    def _newline(self) -> Mask:
        newline: Mask = self.properties.newline[self.ids]
        return newline

    @cached_property
    def _line_begin(self) -> Ints:
        """Column of the line break that began the line; -1 when the line began before the window."""
        return self._last(self._newline)

    @cached_property
    def _text(self) -> Mask:
        text: Mask = self.attribute("suffix1", 0) >= 0
        return text

    @cached_property
    def _texts_in_line(self) -> Ints:
        """Tokens with text since the line break, this one included; -1 in a line whose beginning is not seen."""
        count = np.cumsum(self._text & ~self._newline, axis=1)
        return np.where(self._line_begin >= 0, count - self._gather(count, self._line_begin), -1)

    @cached_property
    def _line_start(self) -> Mask:
        first: Mask = self._text & ~self._newline & (self._texts_in_line == 1)
        return first

    @cached_property
    def _line_first(self) -> Ints:
        """Code (of `word`) of the first word of the line; of the line that it ends at a line break."""
        first = self._gather(np.where(self._newline, -1, self.attribute("word", 0)), self._last(self._line_start | self._newline))
        before = np.full(self.shape, -1, dtype=np.int64)
        before[:, 1:] = first[:, :-1]
        return np.where(self._newline, before, first)

    @cached_property
    def _place(self) -> Ints:
        """Which word of its line the token is, the first being 1."""
        return np.minimum(np.where(self._text, self._texts_in_line, -1), MAX_PLACE - 1)

    @cached_property
    def _line_before(self) -> Ints:
        """Code (of `suffix1`) of the last character of the line before."""
        return self._gather(self._gather(self.attribute("suffix1", 0), self._last(self._text)), self._line_begin)

    @cached_property
    def _indent(self) -> Ints:
        """Columns of indentation of the line, blank tokens after the line break included."""
        columns = self.properties.indent
        own = np.where(self._newline, columns[self.ids] + np.where(self.flag("blank", 1), columns[self.at(1)], 0), -1)
        return np.minimum(self._gather(own, self._line_begin), MAX_INDENT - 1)

    @cached_property
    def _break_indent(self) -> Ints:
        """Indentation that a line break begins; -1 at other tokens."""
        return np.where(self._newline, self._indent, -1)

    @cached_property
    def _indent_before(self) -> Ints:
        """Indentation of the line before; -1 where its beginning is not seen."""
        before = np.full(self.shape, -1, dtype=np.int64)
        before[:, 1:] = self._indent[:, :-1]
        return self._gather(before, self._line_begin)

    @cached_property
    def _deeper(self) -> Mask:
        deeper: Mask = (self._indent_before >= 0) & (self._indent > self._indent_before)
        return deeper

    @cached_property
    def _shallower(self) -> Mask:
        return (self._indent >= 0) & (self._indent < self._indent_before)

    # Places: strings, comments, brackets.

    def _before(self, counts: NDArray[np.int8]) -> Ints:
        """Sum of a token property over the tokens before."""
        values = counts[self.ids].astype(np.int64)
        return np.cumsum(values, axis=1) - values

    @cached_property
    def _in_comment(self) -> Mask:
        found = self._last(self.properties.comment[self.ids])
        return (found >= 0) & (found >= self._line_begin)

    @cached_property
    def _in_string(self) -> Mask:
        odd = np.zeros(self.shape, dtype=np.bool_)
        for kind in (0, 1):
            before = self._before(self.properties.quotes[kind])
            odd |= (before - np.maximum(self._gather(before, self._line_begin), 0)) % 2 == 1
        return odd

    @cached_property
    def _in_triple(self) -> Mask:
        odd: Mask = self._before(self.properties.quotes[2]) % 2 == 1
        return odd

    def _open(self, kind: int) -> Mask:
        """Inside a bracket that was opened in the window and is not closed."""
        depth = self._before(self.properties.brackets[kind])
        return depth > np.minimum(np.minimum.accumulate(depth, axis=1), 0)

    @cached_property
    def _in_round(self) -> Mask:
        return self._open(BRACKETS.index("()"))

    @cached_property
    def _in_square(self) -> Mask:
        return self._open(BRACKETS.index("[]"))

    @cached_property
    def _in_curly(self) -> Mask:
        return self._open(BRACKETS.index("{}"))

    # Places: the row, and what was there before.

    @cached_property
    def _row(self) -> Ints:
        return np.where(self.row < MAX_ROW, self.row, -1)

    def _again(self, keys: Ints) -> Mask:
        """Whether an equal key stands earlier in the same window."""
        windows = np.arange(self.shape[0])[:, None]
        _, first, inverse = np.unique(keys * self.shape[0] + windows, return_index=True, return_inverse=True)
        again: Mask = first[inverse.ravel()].reshape(self.shape) < np.arange(keys.size).reshape(self.shape)
        return again & self.usable

    @cached_property
    def _repeated(self) -> Mask:
        return self._again(self.ids)

    @cached_property
    def _continued(self) -> Mask:
        """The token stands after the same token as it did earlier in the window."""
        known: Mask = self.at(-1) != self.properties.size
        return known & self._again(self.ids * (self.properties.size + 1) + self.at(-1))


def tail_tokens(name: str, code: int, size: int) -> list[int]:
    """The token ids that the code of a tail stands for, in the order of the text, in a vocabulary of `size` tokens."""
    ids: list[int] = []
    for _ in range(TAILS[name]):
        code, token = divmod(code, size)
        ids.insert(0, token)
    return ids


def attribute_size(name: str, properties: TokenProperties) -> int:
    """How many codes an attribute has."""
    of_words = {"line_first": "word", "line_before": "suffix1"}
    places = {"indent": MAX_INDENT, "break_indent": MAX_INDENT, "place": MAX_PLACE, "row": MAX_ROW}
    if name in TAILS:
        return properties.size ** TAILS[name] if properties.size <= MOST_CHARACTERS else 0
    return places[name] if name in places else properties.code_count(of_words.get(name, name))
