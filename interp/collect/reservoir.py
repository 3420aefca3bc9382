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
FEWEST_PENDING = 16


def make_keys(priorities: Tensor, ordinals: Tensor) -> Tensor:
    """int32 [N] priorities and int64 [N] window ordinals below 2^32 to int64 [N] keys."""
    return (priorities.to(torch.int64) << 32) | (ORDINAL_MASK - ordinals)


def sortable(values: Tensor) -> Tensor:
    """float32 [N], not negative, to int32 [N] in the same order: the bits themselves."""
    return values.view(torch.int32)


class Reservoir:
    """The `keep` highest keys of each of R rows, with what belongs to them.

    keys      int64   [R, keep + room]          kept entries in front, in descending order; then those that wait
    payload   float16 [R, keep + room, window]  activations of each entry; None where they are all 0
    threshold int32   [R]                       the least priority that can still enter
    """

    def __init__(self, rows: int, keep: int, window: int | None, device: torch.device) -> None:
        self.keep = keep
        self.room = room_for(keep)
        self.keys = torch.full((rows, keep + self.room), EMPTY, dtype=torch.int64, device=device)
        self.payload = None if window is None else torch.zeros((rows, keep + self.room, window), dtype=torch.float16, device=device)
        self.threshold = torch.full((rows,), NOT_FULL if keep else NEVER, dtype=torch.int32, device=device)
        self._waiting = torch.zeros(rows, dtype=torch.int64, device=device)

    def offer(self, rows: Tensor, keys: Tensor, payload: Tensor | None = None) -> None:
        """Takes in candidates: rows int64 [N], keys int64 [N], payload [N, window]. No key may be offered twice to a row."""
        if self.keep == 0 or len(rows) == 0:
            return
        chosen, rows, ranks = self._ranked(rows, keys)
        keys = keys[chosen]
        counts = torch.bincount(rows, minlength=len(self._waiting))
        crowded = self._waiting + counts > self.room
        if bool(crowded.any()):
            self._settle((crowded | (2 * self._waiting > self.room)).nonzero().squeeze(1))
        slots = self.keep + self._waiting[rows] + ranks
        self.keys[rows, slots] = keys
        if self.payload is not None and payload is not None:
            self.payload[rows, slots] = payload[chosen].to(torch.float16)
        self._waiting += counts

    def kept(self) -> tuple[Tensor, Tensor | None]:
        """int64 [R, keep] keys in descending order, EMPTY where there are fewer, and float16 [R, keep, window] what belongs to them (0 for EMPTY)."""
        if self.keep:
            self._settle(torch.arange(len(self._waiting), device=self.keys.device))
        keys = self.keys[:, : self.keep]
        return keys, None if self.payload is None else self.payload[:, : self.keep].masked_fill((keys == EMPTY)[:, :, None], 0)

    def _ranked(self, rows: Tensor, keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Indices of the candidates grouped by row, their rows, and their rank in the row; never more than `keep` of a row."""
        counts = torch.bincount(rows)
        if int(counts.max()) > self.keep:
            order = keys.argsort(descending=True)
            order = order[rows[order].argsort(stable=True)]
        else:
            order = rows.argsort(stable=True)
        grouped = rows[order]
        ranks = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[grouped]
        best = (ranks < self.keep).nonzero().squeeze(1)
        return order[best], grouped[best], ranks[best]

    def _settle(self, rows: Tensor) -> None:
        """Lets the waiting entries of some rows take their place among the kept."""
        top, order = self.keys[rows].topk(self.keep, dim=1)
        self.keys[rows, : self.keep] = top
        self.keys[rows, self.keep :] = EMPTY
        if self.payload is not None:
            self.payload[rows, : self.keep] = self.payload[rows[:, None], order]
        self.threshold[rows] = (top[:, -1] >> 32).to(torch.int32)
        self._waiting[rows] = 0


def room_for(keep: int) -> int:
    """How many entries of a row may wait: as many as are kept, which sorts a row about once a doubling of the windows seen."""
    return max(keep, FEWEST_PENDING) if keep else 0
