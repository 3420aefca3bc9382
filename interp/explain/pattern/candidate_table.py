"""Tabulate all candidate conditions on the explain tokens of one feature."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from interp.explain.pattern.literals import Between, Contains, Flag, InRow, Literal, OneOf, text_table
from interp.explain.pattern.properties import CLASSES
from interp.explain.pattern.token_windows import PLACE_FLAGS, TokenWindows, attribute_size

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute with the bits of a condition on it, without its values' bits."""

    name: str
    at: int
    bits: float


# Readable conditions are cheap: the token itself, then the tokens before it, then the line, then the row.
# Later tokens are no candidates, since a causal subject has not seen them.
ATTRIBUTES = (
    Attribute("token", 0, 2.5),
    Attribute("bare", 0, 1.5),
    Attribute("word", 0, 1.0),
    Attribute("prefix2", 0, 5.0),
    Attribute("prefix3", 0, 5.0),
    Attribute("suffix1", 0, 5.0),
    Attribute("suffix2", 0, 5.0),
    Attribute("suffix3", 0, 5.0),
    Attribute("token", -1, 5.0),
    Attribute("word", -1, 4.5),
    Attribute("suffix1", -1, 5.5),
    Attribute("word", -2, 6.0),
    Attribute("word", -3, 7.0),
    Attribute("line_first", 0, 5.0),
    Attribute("line_before", 0, 5.5),
    Attribute("indent", 0, 8.5),
    Attribute("break_indent", 0, 1.5),
    Attribute("place", 0, 9.0),
    Attribute("row", 0, 9.0),
    Attribute("tail2", 0, 2.0),
    Attribute("tail3", 0, 2.0),
)
PIECES_OF_WORDS = ("prefix2", "prefix3", "suffix1", "suffix2", "suffix3")
PLACES = ("indent", "break_indent", "place", "row")
# Not for the token before, since `a`, `be` and `add` are hexadecimal, too.
OWN_ONLY = ("hexadecimal",)
FLAGS = (
    *((Flag(name, 0), 4.0) for name in CLASSES),
    *((Flag(name, -1), 5.5) for name in CLASSES if name not in OWN_ONLY),
    *((Flag(name), 5.0) for name in PLACE_FLAGS),
)
NEGATION_BITS = 8.0
ROW_ENDS = (1, 2, 4, 8, 16, 32, 64, 128)
INDENTS = (4, 8, 12, 16, 20, 24)
RANGES: tuple[tuple[Literal, float], ...] = (
    *((InRow(0, end), 7.0) for end in ROW_ENDS),
    *((InRow(end + 1, None), 7.0) for end in ROW_ENDS[4:]),
    *((Between("break_indent", low, None), 6.0) for low in INDENTS),
    *((Between("break_indent", 0, high), 6.0) for high in INDENTS),
    *((Between("break_indent", low, high), 8.0) for low, high in pairwise(INDENTS)),
)
CONTAINS_BITS = 7.0
PIECE_LENGTHS = (3, 4, 5, 6, 7, 8)
PIECES = 6
SEEN_BITS = 7.0
SCOPES = ("line", "window")


@dataclass(frozen=True, slots=True)
class Occurrences:
    """First occurrences of words; cells `low` to `high` (excluded) follow one of `word`."""

    scope: str
    word: NDArray[np.intp]
    low: NDArray[np.intp]
    high: NDArray[np.intp]
    codes: NDArray[np.int64]


@dataclass(frozen=True)
class CandidateTable:
    """M usable tokens of one feature.

    target    float64 [M]     0 where the feature does not fire
    cells     intp [M]        place of each token in the flattened windows
    window_of intp [M]        the token's window
    documents intp [M]        the window's document, numbered from 0
    bins      int32 [A, M]    number of the token's value of each attribute, among the values that occur where the feature fires; B for all others
    flags     float32 [K, M]  1 where the flag holds
    """

    windows: TokenWindows
    target: Floats
    cells: Rows
    window_of: Rows
    documents: Rows
    bins: NDArray[np.int32]
    bin_attribute: NDArray[np.intp]
    bin_code: NDArray[np.int64]
    flags: NDArray[np.float32]
    flag_literals: tuple[Literal, ...]
    flag_bits: Floats
    occurrences: tuple[Occurrences, ...]

    @cached_property
    def negation_bits(self) -> Floats:
        """Return the bits of each flag's negation; infinite for literals that cannot be negated."""
        return np.array([NEGATION_BITS if isinstance(literal, Flag) else np.inf for literal in self.flag_literals])

    @property
    def bin_count(self) -> int:
        return len(self.bin_attribute)

    def one_of(self, attribute: int, chosen: Sequence[int], rare: Sequence[int] = (), share: float = 1.0) -> OneOf:
        """Return the literal of named and `rare` bins; named ones carry a `share`."""
        asked = ATTRIBUTES[attribute]
        texts = text_table(asked.name, self.windows.properties)

        def values(bins: Sequence[int]) -> tuple[int | str, ...]:
            codes: list[int] = self.bin_code[list(bins)].tolist() if bins else []
            return tuple(texts[code] for code in codes) if texts is not None else tuple(codes)

        return OneOf(asked.name, asked.at, values(chosen), rare=values(rare), share=round(share, 2))


def build(windows: TokenWindows, activations: NDArray[np.float32], target: NDArray[np.float32], documents: Rows) -> CandidateTable:
    """Return the table; `activations` and `target` float32 [N, W] must fire somewhere."""
    cells = np.flatnonzero(windows.usable.ravel())
    active = activations.ravel()[cells] > 0
    codes = np.stack([windows.attribute(asked.name, asked.at).ravel()[cells] for asked in ATTRIBUTES])
    bins, bin_attribute, bin_code = _number(codes, active, windows)
    literals, bits, flags = _flags(windows, cells, active)
    return CandidateTable(
        windows=windows,
        target=target.ravel()[cells].astype(np.float64),
        cells=cells,
        window_of=cells // windows.shape[1],
        documents=documents[cells // windows.shape[1]],
        bins=bins,
        bin_attribute=bin_attribute,
        bin_code=bin_code,
        flags=flags,
        flag_literals=literals,
        flag_bits=bits,
        occurrences=tuple(_occurrences(windows, activations > 0, scope) for scope in SCOPES),
    )


def _number(
    codes: NDArray[np.int64], active: NDArray[np.bool_], windows: TokenWindows
) -> tuple[NDArray[np.int32], NDArray[np.intp], NDArray[np.int64]]:
    """Number each attribute's values at active tokens; all others share the last number."""
    sizes = np.array([attribute_size(asked.name, windows.properties) for asked in ATTRIBUTES])
    base = np.concatenate([[0], np.cumsum(sizes)])
    known = codes >= 0
    offset_codes = np.where(known, codes + base[:-1, None], base[-1])
    used = np.unique(offset_codes[:, active][known[:, active]])
    number = np.zeros(base[-1] + 1, dtype=np.int32)
    number[used] = np.arange(1, len(used) + 1)
    bins = number[offset_codes] - 1
    bins[bins < 0] = len(used)
    attribute = np.searchsorted(base, used, side="right") - 1
    return bins, attribute, used - base[attribute]


def _flags(windows: TokenWindows, cells: Rows, active: NDArray[np.bool_]) -> tuple[tuple[Literal, ...], Floats, NDArray[np.float32]]:
    candidates: list[tuple[Literal, float]] = [*FLAGS, *RANGES, *((piece, CONTAINS_BITS) for piece in _pieces(windows, cells[active]))]
    held: NDArray[np.bool_] = np.stack([literal.holds(windows).ravel()[cells] for literal, _ in candidates])
    often = held.sum(axis=1)
    useful = (often > 0) & (often < held.shape[1])
    literals = tuple(literal for (literal, _), keep in zip(candidates, useful, strict=True) if keep)
    bits = np.array([bits for (_, bits), keep in zip(candidates, useful, strict=True) if keep])
    return literals, bits, held[useful].astype(np.float32)


def _pieces(windows: TokenWindows, active_cells: Rows) -> list[Contains]:
    """Return text pieces that several firing tokens share, by the letters they cover."""
    strings = windows.properties.strings
    words = {strings[token].strip().lower() for token in np.unique(windows.ids.ravel()[active_cells])}
    counts: dict[str, int] = {}
    for word in words:
        for piece in {word[start : start + length] for length in PIECE_LENGTHS for start in range(len(word) - length + 1)}:
            counts[piece] = counts.get(piece, 0) + 1
    shared = sorted((-(count - 1) * len(piece), piece) for piece, count in counts.items() if count > 1)
    return [Contains(piece) for _, piece in shared[:PIECES]]


def _occurrences(windows: TokenWindows, active: NDArray[np.bool_], scope: str) -> Occurrences:
    """Return each word's first occurrence per window or line, for words before firings."""
    count, length = windows.shape
    words = windows.attribute("word", 0)
    window = np.broadcast_to(np.arange(count)[:, None], windows.shape)
    end = np.broadcast_to((np.arange(count)[:, None] + 1) * length, windows.shape)
    if scope == "line":
        breaks = np.where(windows.flag("newline", 0), windows.columns, length - 1)
        # The first line break from here on, including this token.
        ahead = np.minimum.accumulate(breaks[:, ::-1], axis=1)[:, ::-1]
        end = window * length + ahead + 1
    cells = np.flatnonzero(words.ravel() >= 0)
    # A line is identified by its end, a window by its own.
    _, first = np.unique(end.ravel()[cells] * (words.max() + 2) + words.ravel()[cells], return_index=True)
    cells = cells[first]
    low, high = cells + 1, end.ravel()[cells]
    fires = np.concatenate([[0], np.cumsum(active.ravel())])
    found = words.ravel()[cells]
    kept = np.isin(found, found[fires[np.maximum(high, low)] > fires[low]])
    codes, word = np.unique(found[kept], return_inverse=True)
    return Occurrences(scope, word.ravel(), low[kept], np.maximum(high, low)[kept], codes)
