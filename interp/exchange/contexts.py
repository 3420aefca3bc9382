"""Turn the windows of many features into columns, without a step per token."""

from collections.abc import Sequence
from dataclasses import fields
from functools import cache, cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from interp.domain.evidence import ContextKind, Contexts, Split
from interp.domain.vocabulary import Vocabulary
from interp.exchange.text import decimal, json_text

KINDS = pa.array([kind.name.lower() for kind in ContextKind])
SPLITS = pa.array([split.name.lower() for split in Split])
CONTEXT = pa.struct(
    {
        "id": pa.string(),
        "kind": pa.string(),
        "split": pa.string(),
        "document": pa.string(),
        "start": pa.int64(),
        "position": pa.int32(),
        "max_activation": pa.float32(),
        "left": pa.list_(pa.string()),
        "tokens": pa.list_(pa.string()),
        "activations": pa.list_(pa.float32()),
    }
)


@cache
def halves() -> pa.Array:
    """Return the JSON text of each float16, by its bits."""
    values = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    decimals = [decimal(float(value) or 0.0) for value in values]  # no negative zero
    return pa.array(["null" if value is None else repr(value) for value in decimals])


@cache
def _listed_halves() -> pa.Array:
    return listed(halves())


NONE = Contexts(
    tokens=np.zeros((0, 0), np.uint32),
    activations=np.zeros((0, 0), np.float16),
    lengths=np.zeros(0, np.uint16),
    kinds=np.zeros(0, np.uint8),
    splits=np.zeros(0, np.uint8),
    documents=np.zeros(0, np.uint64),
    starts=np.zeros(0, np.uint32),
    positions=np.zeros(0, np.uint16),
)


class Windows:
    """The contexts of some features as flat columns, one entry per window or token.

    Those of each feature are by kind, then split, then descending maximum.
    """

    def __init__(self, found: Sequence[Contexts], texts: "TokenTexts") -> None:
        self._counts = np.array([len(one) for one in found], np.int64)
        whole, maxima = _in_order(_together(found), self._counts)
        valid = whole.valid()
        self.document = _hex(whole.documents)
        self.start = pa.array(whole.starts.astype(np.int64))
        self.position = pa.array(whole.positions.astype(np.int32))
        self.kind = KINDS.take(pa.array(whole.kinds))
        self.split = SPLITS.take(pa.array(whole.splits))
        self.id = pc.binary_join_element_wise(self.document, self.start.cast(pa.string()), ":")
        self.activations = whole.activations[valid]
        self.peaks = maxima.astype(np.float16)
        self._lengths, self._before = whole.lengths.astype(np.int64), whole.left_lengths.astype(np.int64)
        self._tokens = texts.numbered(whole.tokens[valid], self._lengths)
        self._left = texts.numbered(whole.left[_at_the_right(whole)], self._before)

    def struct(self, texts: "TokenTexts") -> pa.Array:
        """Return the windows as one array of `CONTEXT`."""
        columns = {
            "max_activation": pa.array(self.peaks.astype(np.float32)),
            "left": pa.ListArray.from_arrays(offsets(self._before), texts.strings.take(pa.array(self._left))),
            "tokens": pa.ListArray.from_arrays(offsets(self._lengths), texts.strings.take(pa.array(self._tokens))),
            "activations": pa.ListArray.from_arrays(offsets(self._lengths), pa.array(self.activations.astype(np.float32))),
        }
        return pa.StructArray.from_arrays([columns.get(of.name, getattr(self, of.name, None)) for of in CONTEXT], fields=list(CONTEXT))

    def json(self, texts: "TokenTexts") -> list[memoryview]:
        """Return the windows of each feature as JSON objects, separated by commas."""
        peaks = halves().take(pa.array(self.peaks.view(np.uint16)))
        members: list[Any] = ['{"id":"', self.id, '","kind":"', self.kind, '","split":"', self.split, '","document":"', self.document, '","start":']
        members += [self.start.cast(pa.string()), ',"position":', self.position.cast(pa.string()), ',"max_activation":', peaks]
        members += [',"left":[', joined(texts.json, self._left, self._before)]
        members += ['],"tokens":[', joined(texts.json, self._tokens, self._lengths)]
        members += ['],"activations":[', joined(_listed_halves(), self.activations.view(np.uint16), self._lengths), "]},"]
        windows = pc.binary_join_element_wise(*members, "")
        content, ends = _content(windows), _places(windows)[np.cumsum(self._counts)].tolist()
        # Without the comma behind a feature's last window.
        return [content[start : max(start, end - 1)] for start, end in zip([0, *ends], ends, strict=False)]


class TokenTexts:
    """The texts of tokens, and of what parts of characters become in a window."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        # Texts that no single token has, by text: numbered after the vocabulary.
        self._further: dict[str, int] = {}

    @cached_property
    def _is_part(self) -> NDArray[np.bool_]:
        """Return which tokens are parts of characters, bool [V]: their text depends on their neighbours."""
        return np.array([not _is_whole(token) for token in self._vocabulary.tokens], np.bool_)

    @cached_property
    def _own(self) -> pa.Array:
        return pa.array(self._vocabulary.strings, pa.string())

    @cached_property
    def _own_json(self) -> pa.Array:
        return pa.array([json_text(text) for text in self._vocabulary.strings], pa.string())

    @property
    def strings(self) -> pa.Array:
        """Return the text of each number."""
        return pa.concat_arrays([self._own, pa.array(self._further, pa.string())])

    @property
    def json(self) -> pa.Array:
        """Return the JSON text of each number, as `listed`."""
        return listed(pa.concat_arrays([self._own_json, pa.array(map(json_text, self._further), pa.string())]))

    def numbered(self, ids: NDArray[np.uint32], lengths: NDArray[np.int64]) -> NDArray[np.uint32]:
        """Return the numbers of tokens' texts: ids, but in windows with parts of characters."""
        parts = np.flatnonzero(self._is_part[ids])
        if len(parts):
            ends = np.cumsum(lengths)
            for window in np.unique(np.searchsorted(ends, parts, side="right")).tolist():
                place = slice(int(ends[window] - lengths[window]), int(ends[window]))
                texts = self._vocabulary.texts(ids[place].tolist())
                ids[place] = [self._further.setdefault(text, len(self._vocabulary) + len(self._further)) for text in texts]
        return ids


def offsets(counts: Any) -> pa.Array:
    """Return the offsets of lists with these lengths."""
    return pa.array(np.concatenate([[0], np.cumsum(np.asarray(counts, np.int64))]).astype(np.int32))


def listed(texts: pa.Array) -> pa.Array:
    """Return each text with a comma behind it, and then each without.

    Those without are for the ends of lists.
    """
    return pa.concat_arrays([pc.binary_join_element_wise(texts, "", ","), texts])


def joined(texts: pa.Array, numbers: NDArray[Any], counts: NDArray[np.int64]) -> pa.Array:
    """Return lists of texts, each joined by commas; `texts` are `listed`.

    The bytes of texts that are taken in order lie side by side, so a list is a part of them.
    """
    ends = np.cumsum(counts)
    numbers = numbers.astype(np.int32)
    numbers[ends[counts > 0] - 1] += len(texts) // 2
    taken = texts.take(pa.array(numbers))
    bounds = _places(taken)[np.concatenate([[0], ends])]
    return pa.Array.from_buffers(pa.string(), len(counts), [None, pa.py_buffer(bounds), pa.py_buffer(_content(taken))])


def _places(texts: pa.Array) -> NDArray[np.int32]:
    """Return where texts begin in `_content`, and the end, int32 [N + 1]."""
    if len(texts) == 0:
        return np.zeros(1, np.int32)
    return np.frombuffer(texts.buffers()[1], np.int32, len(texts) + 1, 4 * texts.offset)


def _content(texts: pa.Array) -> memoryview:
    """Return the bytes of all texts."""
    return memoryview(texts.buffers()[2] or b"")


def _together(found: Sequence[Contexts]) -> Contexts:
    """Return the contexts of some features as one, padded to the widest."""
    each = {column.name: [getattr(one, column.name) for one in found or [NONE]] for column in fields(Contexts)}
    for name in ("tokens", "activations", "left"):
        width = max(matrix.shape[1] for matrix in each[name])
        each[name] = [_padded(matrix, width, at_the_left=name == "left") for matrix in each[name]]
    return Contexts(**{name: np.concatenate(columns) for name, columns in each.items()})


def _padded(matrix: NDArray[Any], width: int, at_the_left: bool) -> NDArray[Any]:
    """Return a matrix of `width` columns; the new ones are 0."""
    missing = width - matrix.shape[1]
    return np.pad(matrix, ((0, 0), (missing, 0) if at_the_left else (0, missing))) if missing else matrix


def _in_order(whole: Contexts, counts: NDArray[np.int64]) -> tuple[Contexts, NDArray[np.float32]]:
    """Return contexts by feature, kind, split and descending maximum, and their maxima."""
    maxima = whole.maxima()
    order = np.lexsort((-maxima, whole.splits, whole.kinds, np.repeat(np.arange(len(counts)), counts)))
    return whole.select(order), maxima[order]


def _at_the_right(contexts: Contexts) -> NDArray[np.bool_]:
    """Return a mask of the real tokens of `left`, bool [N, L]."""
    width = contexts.left.shape[1]
    mask: NDArray[np.bool_] = np.arange(width)[None, :] >= width - contexts.left_lengths[:, None].astype(np.int64)
    return mask


def _hex(documents: NDArray[np.uint64]) -> pa.Array:
    """Return the names of documents, 16 hexadecimal digits each."""
    digits = documents.astype(">u8").tobytes().hex().encode()
    return pa.Array.from_buffers(pa.string(), len(documents), [None, offsets(np.full(len(documents), 16)).buffers()[1], pa.py_buffer(digits)])


def _is_whole(token: bytes) -> bool:
    try:
        token.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
