"""Layout of documents that share rows, as packed training data has them.

The documents of a split follow one another in a stream, in the order of the corpus, with a BOS after each (nothing where the subject has none). The
stream is cut into rows, each of which begins with a BOS; attention in a row goes across documents. A document's part of a row is a segment. Windows
begin with their segment, so that none goes across the end of a document. The test split begins with a row of its own: no test document is read after
an explain document.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
from numpy.typing import NDArray

from interp.collect.layout.by_document import Bools, Ints, Layout, Rows, WindowPositions, WindowsInRows
from interp.domain.evidence import Split


@dataclass(frozen=True)
class PackedRows(Rows):
    """Rows of the stream; `documents` and `firsts` say where each begins, and `ordinals` nothing.

    starts  int64 [R]  places in the stream of the tokens after the head
    span    documents whose windows are wanted, half-open: rows at its edges hold others, too
    """

    starts: Ints
    span: tuple[int, int]

    def select(self, keep: Ints) -> "PackedRows":
        own = super().select(keep)
        return PackedRows(own.documents, own.firsts, own.lengths, own.padded, own.ordinals, self.starts[keep], self.span)


@dataclass(frozen=True)
class _Segments:
    """Columns of S segments: row, document, its content offset, first column, number of tokens."""

    rows: Ints
    documents: Ints
    starts: Ints
    columns: Ints
    lengths: Ints


@dataclass(frozen=True)
class PackedLayout(Layout):
    """Layout of a corpus whose documents share rows; `splits` uint8 [documents]."""

    splits: NDArray[np.uint8]

    @cached_property
    def row_lengths(self) -> tuple[int, ...]:
        return (self.row_tokens,)

    @cached_property
    def first_windows(self) -> Ints:
        full, rest = np.divmod(self._sizes - self._first_parts, self.content)
        windows = self._windows(self._first_parts) + full * self._windows(self.content) + self._windows(rest)
        return np.concatenate([[0], np.cumsum(windows)]).astype(np.int64)

    def rows(self, first: int, stop: int) -> PackedRows:
        """Return the rows of documents `first` to `stop - 1`, the explain split's first."""
        begins = self._places[first:stop] // self.content
        ends = (self._places[first:stop] + self._sizes[first:stop] - 1) // self.content
        of = [np.flatnonzero(self.splits[first:stop] == split) for split in Split]
        starts = np.concatenate([np.arange(begins[own[0]], ends[own[-1]] + 1) for own in of if len(own)]) * self.content
        documents, firsts = self._at(starts)
        lengths = np.minimum(self.content, self._ends[self.splits[documents]] - starts) + self.head
        return PackedRows(documents, firsts, lengths, np.full_like(starts, self.row_tokens), np.zeros_like(starts), starts, (first, stop))

    def sample(self, splits: NDArray[np.uint8], tokens: int) -> PackedRows:
        """Return the first rows of the explain split, with about this many tokens."""
        rows = self.rows(0, len(splits))
        rows = rows.select(np.flatnonzero(splits[rows.documents] == Split.EXPLAIN))
        return rows.select(np.arange(min(-(-tokens // self.content), len(rows))))

    def content_tokens(self, rows: Rows) -> int:
        return int(self._segments(cast(PackedRows, rows)).lengths.sum())

    def windows_in(self, rows: Rows, counted: Bools) -> WindowsInRows:
        segments = self._segments(cast(PackedRows, rows))
        counts = self._windows(segments.lengths)
        of = np.repeat(np.arange(len(counts)), counts)
        offsets = (np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts)) * self.window
        places = segments.rows[of] * counted.shape[1] + segments.columns[of] + offsets
        columns = np.arange(self.window)[None, :]
        inside = columns < (segments.lengths[of] - offsets)[:, None]
        own = counted.reshape(-1)[np.minimum(places[:, None] + columns, counted.size - 1)] & inside
        documents, first = segments.documents[of], self._first_parts[segments.documents[of]]
        before = self._windows(first) + (segments.starts[of] - first) // self.content * self._windows(self.content)
        ordinals = self.first_windows[documents] + np.where(segments.starts[of] == 0, 0, before) + offsets // self.window
        real = np.flatnonzero(own.any(axis=1))
        return WindowsInRows(places[real], ordinals[real], own[real])

    def locate(self, ordinals: Ints) -> WindowPositions:
        documents = np.searchsorted(self.first_windows, ordinals, side="right") - 1
        within, first = ordinals - self.first_windows[documents], self._first_parts[documents]
        rows, windows = np.divmod(within - self._windows(first), self._windows(self.content))
        is_first = rows < 0
        offsets = np.where(is_first, within, windows) * self.window
        begins = np.where(is_first, 0, first + rows * self.content)
        left = np.where(is_first, first, np.minimum(self.content, self._sizes[documents] - begins)) - offsets
        columns = self.head + offsets + np.where(is_first, self._places[documents] % self.content, 0)
        return WindowPositions(documents, begins + offsets, columns, np.minimum(self.window, left))

    def row_tokens_of(self, content: NDArray[np.uint32], rows: Rows, length: int) -> tuple[Ints, Bools]:
        starts, columns = cast(PackedRows, rows).starts[:, None], np.arange(length)[None, :]
        documents, offsets = self._at(starts + np.maximum(columns - self.head, 0))
        real = columns < rows.lengths[:, None]
        is_content = real & (columns >= self.head) & (offsets < self._sizes[documents])
        tokens = content[np.minimum(self.offsets[documents] + offsets, len(content) - 1)].astype(np.int64)
        return np.where(is_content, tokens, np.where(real, self.bos or 0, 0)), is_content

    def place_of(self, rows: Rows, row: int, column: int) -> tuple[int, int]:
        document, token = self._at(cast(PackedRows, rows).starts[row : row + 1] + column - self.head)
        return int(document[0]), int(token[0])

    def _left_of(self, places: WindowPositions) -> Ints:
        first = self._first_parts[places.documents]
        left: Ints = np.where(places.starts < first, places.starts, (places.starts - first) % self.content)
        return left

    @cached_property
    def _sizes(self) -> Ints:
        return np.diff(self.offsets)

    @cached_property
    def _order(self) -> Ints:
        """Return the documents in the order of the stream."""
        return np.argsort(self.splits, kind="stable")

    @cached_property
    def _ranks(self) -> Ints:
        """Return each document's number in the order of the stream."""
        return np.argsort(self._order)

    @cached_property
    def _ordered_places(self) -> Ints:
        """Return the places in the stream at which its documents begin, ascending."""
        taken = self._sizes[self._order] + self.head
        places = np.cumsum(taken) - taken
        is_test = self.splits[self._order] == Split.TEST
        if is_test.any():
            places[is_test] += -places[is_test][0] % self.content
        return places

    @cached_property
    def _places(self) -> Ints:
        return self._ordered_places[self._ranks]

    @cached_property
    def _ends(self) -> Ints:
        """Return where each split ends in the stream, without the last BOS, int64 [2]."""
        ends = self._places + self._sizes
        return np.array([ends[self.splits == split].max(initial=0) for split in Split])

    @cached_property
    def _first_parts(self) -> Ints:
        """Return how many tokens of each document are in the row in which it begins."""
        parts: Ints = np.minimum(self._sizes, self.content - self._places % self.content)
        return parts

    def _at(self, places: Ints) -> tuple[Ints, Ints]:
        """Return documents and content offsets at places of the stream (a BOS is its document's)."""
        ranks = np.maximum(np.searchsorted(self._ordered_places, places, side="right") - 1, 0)
        return self._order[ranks], places - self._ordered_places[ranks]

    def _segments(self, rows: PackedRows) -> _Segments:
        """Return the segments of wanted documents in rows."""
        stops = rows.starts + rows.lengths - self.head
        first, last = self._ranks[rows.documents], self._ranks[self._at(stops - 1)[0]]
        counts = last - first + 1
        of = np.repeat(np.arange(len(rows)), counts)
        documents = self._order[first[of] + np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts)]
        begins = np.maximum(self._places[documents], rows.starts[of])
        lengths = np.minimum(self._places[documents] + self._sizes[documents], stops[of]) - begins
        keep = np.flatnonzero((lengths > 0) & (documents >= rows.span[0]) & (documents < rows.span[1]))
        columns = begins - rows.starts[of] + self.head
        return _Segments(of[keep], documents[keep], (begins - self._places[documents])[keep], columns[keep], lengths[keep])

    def _windows(self, lengths: Ints | int) -> Ints:
        """Return the number of windows of segments of these lengths."""
        return -(-np.asarray(lengths, dtype=np.int64) // self.window)
