"""Reservoirs of the k windows of highest priority, for all features at once.

Each sample of contexts is a reservoir. An entry is a 64-bit key: the priority (a sortable int32) above the window's ordinal (inverted, so that ties
go to the first window). Keys are totally ordered, so the kept entries depend on the set of windows offered, and not on their order.
"""

import torch
from torch import Tensor

EMPTY = torch.iinfo(torch.int64).min
NOT_FULL = torch.iinfo(torch.int32).min
NEVER = torch.iinfo(torch.int32).max
ORDINAL_MASK = 0xFFFFFFFF


def make_keys(priorities: Tensor, ordinals: Tensor) -> Tensor:
    """Return keys int64 [N] of priorities int32 [N] and window ordinals int64 [N] below 2^32."""
    return (priorities.to(torch.int64) << 32) | (ORDINAL_MASK - ordinals)


def sortable(values: Tensor) -> Tensor:
    """Return int32 [N] in the order of non-negative values float32 [N]: their bits."""
    return values.view(torch.int32)


class Reservoir:
    """The `keep` highest keys of each of R rows, with their activations.

    keys      int64   [R, keep + waiting]          kept entries in front, in descending order; then those that wait to be sorted in
    payload   float16 [R, keep + waiting, window]  activations of each entry; None where they are all 0
    threshold int32   [R]                          the least priority that can still enter
    """

    def __init__(
        self, rows: int, keep: int, window: int | None, device: torch.device, least: int = NOT_FULL, documents: Tensor | None = None
    ) -> None:
        """Create empty rows; `least` is the lowest priority that may enter.

        With `documents` int64 [documents + 1], the ordinals of first windows, a row keeps only the best window of each document. The kept entries
        still depend only on the set offered: a document's best key only grows, and one that has left stays behind `keep` others.
        """
        slots = keep + waiting_slots(keep)
        self.keep = keep
        self.keys = torch.full((rows, slots), EMPTY, dtype=torch.int64, device=device)
        self.payload = None if window is None else torch.zeros((rows, slots, window), dtype=torch.float16, device=device)
        self.threshold = torch.full((rows,), least if keep else NEVER, dtype=torch.int32, device=device)
        self._least, self._documents = least, documents
        self._waiting = torch.zeros(rows, dtype=torch.int64, device=device)

    @property
    def is_by_document(self) -> bool:
        """Return whether a row keeps at most one window per document."""
        return self._documents is not None

    def offer(self, rows: Tensor, keys: Tensor, payload: Tensor | None = None) -> None:
        """Offer candidates rows, keys int64 [N], payload [N, window]; never a key twice per row."""
        if self.keep == 0 or len(rows) == 0:
            return
        if self._documents is not None:
            first = self._best_of_documents(rows, keys)
            rows, keys, payload = rows[first], keys[first], None if payload is None else payload[first]
        chosen, rows, ranks = self._ranked(rows, keys)
        slots = torch.add(ranks, self._waiting.index_select(0, rows)).add_(self.keep).add_(rows, alpha=self.keys.shape[1])
        self.keys.view(-1).scatter_(0, slots, keys.index_select(0, chosen))
        if self.payload is not None and payload is not None:
            entries = payload.index_select(0, chosen).to(torch.float16)
            self.payload.view(-1, entries.shape[1]).index_copy_(0, slots, entries)
        self._waiting += torch.bincount(rows, minlength=len(self._waiting))
        self._settle((2 * self._waiting >= self.keep).nonzero().squeeze(1))

    def kept(self) -> tuple[Tensor, Tensor | None]:
        """Return keys int64 [R, keep], descending or EMPTY, and payload float16 [R, keep, window]."""
        self._settle(self._waiting.nonzero().squeeze(1))
        keys = self.keys[:, : self.keep]
        return keys, None if self.payload is None else self.payload[:, : self.keep].masked_fill((keys == EMPTY)[:, :, None], 0)

    def _ranked(self, rows: Tensor, keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the best `keep` candidates per row: indices grouped by row, rows, and ranks."""
        counts = torch.bincount(rows)
        crowded = bool(counts.max() > self.keep)
        order = keys.argsort(descending=True) if crowded else torch.arange(len(rows), device=rows.device)
        order = order.index_select(0, rows.index_select(0, order).argsort(stable=True))
        grouped = rows.index_select(0, order)
        ranks = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts).index_select(0, grouped)
        if not crowded:
            return order, grouped, ranks
        best = (ranks < self.keep).nonzero().squeeze(1)
        return order.index_select(0, best), grouped.index_select(0, best), ranks.index_select(0, best)

    def documents_of(self, keys: Tensor) -> Tensor:
        """Return the document, int64, of each key's window."""
        assert self._documents is not None
        return torch.searchsorted(self._documents, ORDINAL_MASK - (keys & ORDINAL_MASK), right=True)

    def _best_of_documents(self, rows: Tensor, keys: Tensor) -> Tensor:
        """Return indices of the candidates that are the best of their row and document."""
        order = keys.argsort(descending=True)
        pairs = rows[order] * (ORDINAL_MASK + 1) + self.documents_of(keys[order])
        pairs, again = pairs.sort(stable=True)
        is_first = torch.ones(len(pairs), dtype=torch.bool, device=pairs.device)
        is_first[1:] = pairs[1:] != pairs[:-1]
        return order[again[is_first]]

    def _without_repeats(self, keys: Tensor) -> Tensor:
        """Replace keys int64 [n, slots] that are not the best of their document with EMPTY."""
        falling, order = keys.sort(dim=1, descending=True)
        documents, by_document = self.documents_of(falling).sort(dim=1, stable=True)
        repeats = torch.zeros_like(documents, dtype=torch.bool)
        repeats[:, 1:] = documents[:, 1:] == documents[:, :-1]
        places = order.gather(1, by_document)
        return keys.masked_fill(torch.zeros_like(repeats).scatter_(1, places, repeats), EMPTY)

    def _settle(self, rows: Tensor) -> None:
        """Merge the waiting entries of some rows into the kept ones."""
        if len(rows) == 0:
            return
        keys = self.keys.index_select(0, rows)
        if self._documents is not None:
            keys = self._without_repeats(keys)
        top, order = keys.topk(self.keep, dim=1)
        self.keys[rows, : self.keep] = top
        self.keys[rows, self.keep :] = EMPTY
        if self.payload is not None:
            slots, window = self.payload.shape[1:]
            source = torch.add(order, rows[:, None], alpha=slots).view(-1)
            self.payload[rows, : self.keep] = self.payload.view(-1, window).index_select(0, source).view(*order.shape, window)
        self.threshold[rows] = (top[:, -1] >> 32).clamp_(min=self._least).to(torch.int32)
        self._waiting[rows] = 0


def waiting_slots(keep: int) -> int:
    """Return the number of waiting entries per row; rows with half of `keep` are merged."""
    return keep + keep // 2
