"""Keep the k windows of highest priority, for every feature at once: the one rule of all samples of contexts.

An entry is a 64-bit key: the priority (a sortable int32) above the window's ordinal (inverted, so that ties go to the first window). Keys are
totally ordered, so what is kept is a function of the set of windows offered, not of the order they came in.
"""

import torch
from torch import Tensor

EMPTY = torch.iinfo(torch.int64).min
NOT_FULL = torch.iinfo(torch.int32).min
NEVER = torch.iinfo(torch.int32).max
ORDINAL_MASK = 0xFFFFFFFF


def make_keys(priorities: Tensor, ordinals: Tensor) -> Tensor:
    """int32 [N] priorities and int64 [N] window ordinals below 2^32 to int64 [N] keys."""
    return (priorities.to(torch.int64) << 32) | (ORDINAL_MASK - ordinals)


def sortable(values: Tensor) -> Tensor:
    """float32 [N], not negative, to int32 [N] in the same order: the bits themselves."""
    return values.view(torch.int32)


class Reservoir:
    """The `keep` highest keys of each of R rows, with what belongs to them.

    keys      int64   [R, keep + room]          kept entries in front, in descending order; then those that wait to be sorted in
    payload   float16 [R, keep + room, window]  activations of each entry; None where they are all 0
    threshold int32   [R]                       the least priority that can still enter
    """

    def __init__(self, rows: int, keep: int, window: int | None, device: torch.device, least: int = NOT_FULL) -> None:
        """`least` is the lowest priority worth keeping at all."""
        slots = keep + room_for(keep)
        self.keep = keep
        self.keys = torch.full((rows, slots), EMPTY, dtype=torch.int64, device=device)
        self.payload = None if window is None else torch.zeros((rows, slots, window), dtype=torch.float16, device=device)
        self.threshold = torch.full((rows,), least if keep else NEVER, dtype=torch.int32, device=device)
        self._least = least
        self._waiting = torch.zeros(rows, dtype=torch.int64, device=device)

    def offer(self, rows: Tensor, keys: Tensor, payload: Tensor | None = None) -> None:
        """Takes in candidates: rows int64 [N], keys int64 [N], payload [N, window]. No key may be offered twice to a row."""
        if self.keep == 0 or len(rows) == 0:
            return
        chosen, rows, ranks = self._ranked(rows, keys)
        slots = torch.add(ranks, self._waiting.index_select(0, rows)).add_(self.keep).add_(rows, alpha=self.keys.shape[1])
        self.keys.view(-1).scatter_(0, slots, keys.index_select(0, chosen))
        if self.payload is not None and payload is not None:
            entries = payload.index_select(0, chosen).to(torch.float16)
            self.payload.view(-1, entries.shape[1]).index_copy_(0, slots, entries)
        self._waiting += torch.bincount(rows, minlength=len(self._waiting))
        self._settle((2 * self._waiting >= self.keep).nonzero().squeeze(1))

    def kept(self) -> tuple[Tensor, Tensor | None]:
        """int64 [R, keep] keys in descending order, EMPTY where there are fewer, and float16 [R, keep, window] what belongs to them (0 for EMPTY)."""
        self._settle(self._waiting.nonzero().squeeze(1))
        keys = self.keys[:, : self.keep]
        return keys, None if self.payload is None else self.payload[:, : self.keep].masked_fill((keys == EMPTY)[:, :, None], 0)

    def _ranked(self, rows: Tensor, keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Indices of the candidates grouped by row, their rows, and their rank in the row; the best `keep` of a row and no more."""
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

    def _settle(self, rows: Tensor) -> None:
        """Sorts the waiting entries of some rows in among the kept."""
        if len(rows) == 0:
            return
        top, order = self.keys.index_select(0, rows).topk(self.keep, dim=1)
        self.keys[rows, : self.keep] = top
        self.keys[rows, self.keep :] = EMPTY
        if self.payload is not None:
            slots, window = self.payload.shape[1:]
            source = torch.add(order, rows[:, None], alpha=slots).view(-1)
            self.payload[rows, : self.keep] = self.payload.view(-1, window).index_select(0, source).view(*order.shape, window)
        self.threshold[rows] = (top[:, -1] >> 32).clamp_(min=self._least).to(torch.int32)
        self._waiting[rows] = 0


def room_for(keep: int) -> int:
    """How many entries of a row may wait: rows with half of `keep` are sorted at once, and a batch brings no row more than `keep`."""
    return keep + keep // 2
