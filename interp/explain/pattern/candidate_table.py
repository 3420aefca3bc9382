"""The explain tokens of one feature with every candidate condition evaluated on them: what the search counts over."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from interp.explain.pattern.literals import PLACE_FLAGS, Between, Contains, Flag, InRow, Literal, OneOf, text_table
from interp.explain.pattern.properties import CLASSES
from interp.explain.pattern.token_windows import TokenWindows, attribute_size

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Attribute:
    """A categorical question and the bits that asking it costs, before its values are named."""

    name: str
    at: int
    bits: float


# What a reader finds simple is cheap: the token itself, then what stands before it, then the line, then the row.
# What stands after is never asked for: a causal subject has not seen it, and it can only be a consequence.
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
# Of a neighbour this class says nothing: `a`, `be` and `add` are hexadecimal too.
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
    """First occurrences of words in the windows (or lines): cells `low` to `high` (excluded) of the flattened scene come after one of `word`."""

    scope: str
    word: NDArray[np.intp]
    low: NDArray[np.intp]
    high: NDArray[np.intp]
    codes: NDArray[np.int64]


@dataclass(frozen=True)
class CandidateTable:
    """M usable tokens of one feature.

    target    float64 [M]     what a rule should predict, 0 where the feature does not fire
    cells     intp [M]        place of each token in the flattened scene
    windows   intp [M]        the token's window
    documents intp [M]        the window's document, numbered from 0
    bins      int32 [A, M]    number of the token's value of each attribute, among the values that occur where the feature fires; B for all others
    flags     float32 [K, M]  1 where the flag holds
    """

    scene: TokenWindows
    target: Floats
    cells: Rows
    windows: Rows
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
        """What it costs to say that a flag does not hold; infinite for literals that cannot be negated."""
        return np.array([NEGATION_BITS if isinstance(literal, Flag) else np.inf for literal in self.flag_literals])

    @property
    def bin_count(self) -> int:
        return len(self.bin_attribute)

    def one_of(self, attribute: int, chosen: Sequence[int], rare: Sequence[int] = (), share: float = 1.0) -> OneOf:
        """The literal that picks these bins of an attribute, and `rare` ones that need not be named, the former with a `share` of the activation."""
        asked = ATTRIBUTES[attribute]
        texts = text_table(asked.name, self.scene.properties)

        def values(bins: Sequence[int]) -> tuple[int | str, ...]:
            codes: list[int] = self.bin_code[list(bins)].tolist() if bins else []
            return tuple(texts[code] for code in codes) if texts is not None else tuple(codes)

        return OneOf(asked.name, asked.at, values(chosen), rare=values(rare), share=round(share, 2))


def build(scene: TokenWindows, activations: NDArray[np.float32], target: NDArray[np.float32], documents: Rows) -> CandidateTable:
    """`activations` and `target` float32 [N, W]; both 0 where the feature does not fire. At least one token must fire."""
    cells = np.flatnonzero(scene.usable.ravel())
    active = activations.ravel()[cells] > 0
    codes = np.stack([scene.attribute(asked.name, asked.at).ravel()[cells] for asked in ATTRIBUTES])
    bins, bin_attribute, bin_code = _number(codes, active, scene)
    literals, bits, flags = _flags(scene, cells, active)
    return CandidateTable(
        scene=scene,
        target=target.ravel()[cells].astype(np.float64),
        cells=cells,
        windows=cells // scene.shape[1],
        documents=documents[cells // scene.shape[1]],
        bins=bins,
        bin_attribute=bin_attribute,
        bin_code=bin_code,
        flags=flags,
        flag_literals=literals,
        flag_bits=bits,
        occurrences=tuple(_occurrences(scene, activations > 0, scope) for scope in SCOPES),
    )


def _number(
    codes: NDArray[np.int64], active: NDArray[np.bool_], scene: TokenWindows
) -> tuple[NDArray[np.int32], NDArray[np.intp], NDArray[np.int64]]:
    """Number the values that occur at active tokens, attribute by attribute; every other value shares the last number."""
    sizes = np.array([attribute_size(asked.name, scene.properties) for asked in ATTRIBUTES])
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


def _flags(scene: TokenWindows, cells: Rows, active: NDArray[np.bool_]) -> tuple[tuple[Literal, ...], Floats, NDArray[np.float32]]:
    candidates: list[tuple[Literal, float]] = [*FLAGS, *RANGES, *((piece, CONTAINS_BITS) for piece in _pieces(scene, cells[active]))]
    held: NDArray[np.bool_] = np.stack([literal.holds(scene).ravel()[cells] for literal, _ in candidates])
    often = held.sum(axis=1)
    useful = (often > 0) & (often < held.shape[1])
    literals = tuple(literal for (literal, _), keep in zip(candidates, useful, strict=True) if keep)
    bits = np.array([bits for (_, bits), keep in zip(candidates, useful, strict=True) if keep])
    return literals, bits, held[useful].astype(np.float32)


def _pieces(scene: TokenWindows, active_cells: Rows) -> list[Contains]:
    """Pieces of text that several of the firing tokens share, those first that explain the most letters."""
    strings = scene.properties.strings
    words = {strings[token].strip().lower() for token in np.unique(scene.ids.ravel()[active_cells])}
    counts: dict[str, int] = {}
    for word in words:
        for piece in {word[start : start + length] for length in PIECE_LENGTHS for start in range(len(word) - length + 1)}:
            counts[piece] = counts.get(piece, 0) + 1
    shared = sorted((-(count - 1) * len(piece), piece) for piece, count in counts.items() if count > 1)
    return [Contains(piece) for _, piece in shared[:PIECES]]


def _occurrences(scene: TokenWindows, active: NDArray[np.bool_], scope: str) -> Occurrences:
    """Where each word stands for the first time in a window or line, of the words after which the feature ever fires."""
    count, width = scene.shape
    words = scene.attribute("word", 0)
    window = np.broadcast_to(np.arange(count)[:, None], scene.shape)
    end = np.broadcast_to((np.arange(count)[:, None] + 1) * width, scene.shape)
    if scope == "line":
        breaks = np.where(scene.flag("newline", 0), scene.columns, width - 1)
        # The first line break from here on, itself included.
        ahead = np.minimum.accumulate(breaks[:, ::-1], axis=1)[:, ::-1]
        end = window * width + ahead + 1
    cells = np.flatnonzero(words.ravel() >= 0)
    # A line is named by its end, a window by its own.
    _, first = np.unique(end.ravel()[cells] * (words.max() + 2) + words.ravel()[cells], return_index=True)
    cells = cells[first]
    low, high = cells + 1, end.ravel()[cells]
    fires = np.concatenate([[0], np.cumsum(active.ravel())])
    found = words.ravel()[cells]
    kept = np.isin(found, found[fires[np.maximum(high, low)] > fires[low]])
    codes, word = np.unique(found[kept], return_inverse=True)
    return Occurrences(scope, word.ravel(), low[kept], np.maximum(high, low)[kept], codes)
