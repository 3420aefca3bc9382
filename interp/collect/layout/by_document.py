"""Layout of documents in rows of their own, a function of each document alone.

A row is [BOS] and up to `row_tokens - 1` content tokens (`row_tokens` where the subject has no BOS). Windows are aligned in the row, so that a batch
`[B, T]` is `[B, T / window, window]` without a copy. Each window of a corpus has an ordinal, counted through the documents in order.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from interp.domain.evidence import Split

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
MOST_LENGTHS = 8


@dataclass(frozen=True)
class Rows:
    """R rows, as columns: document indices, content offsets, lengths with BOS, ordinals."""

    documents: Ints
    firsts: Ints
    lengths: Ints
    padded: Ints
    ordinals: Ints  # of each row's first window

    def __len__(self) -> int:
        return len(self.documents)

    def select(self, keep: Ints) -> "Rows":
        return Rows(self.documents[keep], self.firsts[keep], self.lengths[keep], self.padded[keep], self.ordinals[keep])


@dataclass(frozen=True)
class WindowPositions:
    """Columns of W windows as in `interp.domain.evidence.Contexts`; `documents` are corpus indices."""

    documents: Ints
    starts: Ints
    positions: Ints
    lengths: Ints


@dataclass(frozen=True)
class WindowsInRows:
    """Columns of W windows of rows `[R, T]` that hold a token that counts.

    places    int64 [W]          of the first token, in R * T
    ordinals  int64 [W]
    counted   bool  [W, window]
    """

    places: Ints
    ordinals: Ints
    counted: Bools


@dataclass(frozen=True)
class Layout:
    """Layout of a corpus; document i begins at content token `offsets[i]` (int64 [documents + 1])."""

    offsets: Ints
    row_tokens: int
    window: int
    bos: int | None

    @property
    def head(self) -> int:
        """Return the number of tokens before a row's content: 1 with a BOS, else 0."""
        return 0 if self.bos is None else 1

    @property
    def content(self) -> int:
        """Return the number of content tokens per full row."""
        return self.row_tokens - self.head

    @property
    def row_windows(self) -> int:
        return self.row_tokens // self.window

    @cached_property
    def row_lengths(self) -> tuple[int, ...]:
        """Return padded lengths of rows, ascending: at most `MOST_LENGTHS` multiples of the window."""
        step = -(-self.row_windows // MOST_LENGTHS)
        lengths = range(step * self.window, self.row_tokens, step * self.window)
        return (*lengths, self.row_tokens)

    @cached_property
    def first_windows(self) -> Ints:
        """Return the ordinals int64 [documents + 1] of each document's first window."""
        full, rest = np.divmod(np.diff(self.offsets), self.content)
        windows = full * self.row_windows + np.where(rest > 0, -(-(rest + self.head) // self.window), 0)
        return np.concatenate([[0], np.cumsum(windows)]).astype(np.int64)

    def rows(self, first: int, stop: int) -> Rows:
        """Return the rows of the documents `first` to `stop - 1`, in order."""
        tokens = np.diff(self.offsets[first : stop + 1])
        counts = -(-tokens // self.content)
        documents = np.repeat(np.arange(first, stop), counts)
        within = np.arange(len(documents)) - np.repeat(np.cumsum(counts) - counts, counts)
        firsts = within * self.content
        lengths = self._row_lengths(documents, firsts)
        known = np.array(self.row_lengths)
        padded = known[np.searchsorted(known, lengths)]
        return Rows(documents, firsts, lengths, padded, self.first_windows[documents] + within * self.row_windows)

    def sample(self, splits: NDArray[np.uint8], tokens: int) -> Rows:
        """Return explain rows of `tokens` tokens, if there are: documents' first rows, then second ones."""
        explain = splits == Split.EXPLAIN
        first_rows = np.where(explain, np.minimum(np.diff(self.offsets), self.content), 0)
        stop = min(int(np.searchsorted(np.cumsum(first_rows), tokens)) + 1, len(splits))
        rows = self.rows(0, stop)
        rows = rows.select(np.flatnonzero(explain[rows.documents]))
        rows = rows.select(np.argsort(rows.firsts, kind="stable"))
        enough = int(np.searchsorted(np.cumsum(rows.lengths - self.head), tokens)) + 1
        return rows.select(np.arange(min(enough, len(rows))))

    def content_tokens(self, rows: Rows) -> int:
        """Return the number of tokens of the wanted documents in rows."""
        return int(rows.lengths.sum()) - len(rows) * self.head

    def windows_in(self, rows: Rows, counted: Bools) -> WindowsInRows:
        """Return the windows of the wanted documents in rows, by `counted` bool [R, T]."""
        by_window = counted.reshape(-1, self.window)
        real = np.flatnonzero(by_window.any(axis=1))
        per_row = counted.shape[1] // self.window
        return WindowsInRows(real * self.window, rows.ordinals[real // per_row] + real % per_row, by_window[real])

    def place_of(self, rows: Rows, row: int, column: int) -> tuple[int, int]:
        """Return document and content offset at a column of a row (-1: a document's BOS)."""
        return int(rows.documents[row]), int(rows.firsts[row]) + column - self.head

    def locate(self, ordinals: Ints) -> WindowPositions:
        """Return the positions of the windows with these ordinals."""
        documents = np.searchsorted(self.first_windows, ordinals, side="right") - 1
        rows, windows = np.divmod(ordinals - self.first_windows[documents], self.row_windows)
        firsts, positions = rows * self.content, windows * self.window
        starts = firsts + np.maximum(positions - self.head, 0)
        return WindowPositions(documents, starts, positions, np.minimum(self.window, self._row_lengths(documents, firsts) - positions))

    def _row_lengths(self, documents: Ints, firsts: Ints) -> Ints:
        """Return the lengths, with BOS, of rows that begin at these content offsets."""
        left = self.offsets[documents + 1] - self.offsets[documents] - firsts
        lengths: Ints = np.minimum(self.content, left) + self.head
        return lengths

    def row_tokens_of(self, content: NDArray[np.uint32], rows: Rows, length: int) -> tuple[Ints, Bools]:
        """Return token ids int64 [R, length], padded with 0, and which are content."""
        columns = np.arange(length)[None, :]
        places = (self.offsets[rows.documents] + rows.firsts - self.head)[:, None] + columns
        real = columns < rows.lengths[:, None]
        tokens = content[np.clip(places, 0, len(content) - 1)].astype(np.int64)
        tokens[~real] = 0
        if self.bos is not None:
            tokens[:, 0] = self.bos
        return tokens, real & (columns >= self.head)

    def tokens(self, content: NDArray[np.uint32], places: WindowPositions) -> NDArray[np.uint32]:
        """Return token ids uint32 [W, window] with BOS, padded with 0."""
        columns = np.arange(self.window)[None, :]
        has_head = (places.positions == 0)[:, None] & (self.head == 1)
        begins = (self.offsets[places.documents] + places.starts)[:, None]
        valid = columns < places.lengths[:, None]
        spots = np.clip(begins + columns - has_head, 0, len(content) - 1)
        tokens = np.where(valid, content[spots], 0).astype(np.uint32)
        if self.bos is not None:
            tokens[has_head & (columns == 0)] = self.bos
        return tokens

    def left(self, content: NDArray[np.uint32], places: WindowPositions, most: int) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
        """Return left contexts uint32 [W, most], aligned to the right, and their lengths [W]."""
        counts = np.minimum(self._left_of(places), most)
        columns = np.arange(most)[None, :]
        spots = (self.offsets[places.documents] + places.starts)[:, None] + columns - most
        known = columns >= most - counts[:, None]
        return np.where(known, content[np.clip(spots, 0, len(content) - 1)], 0).astype(np.uint32), counts.astype(np.uint8)

    def _left_of(self, places: WindowPositions) -> Ints:
        """Return the number of the document's tokens before each window in its row, int64 [W]."""
        return np.maximum(places.positions - self.head, 0)
