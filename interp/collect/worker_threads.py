"""Threads that run torch on one core each, without barriers between them, so that a tile stays in its core's cache."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise
from typing import TypeVar

import torch

Item = TypeVar("Item")


class WorkerThreads:
    """As many threads as torch uses on the CPU; on another device the calling thread alone."""

    def __init__(self, device: torch.device) -> None:
        self._torch_threads = torch.get_num_threads()
        self.count = self._torch_threads if device.type == "cpu" else 1
        self._pool = ThreadPoolExecutor(self.count, "collect", initializer=torch.set_num_threads, initargs=(1,)) if self.count > 1 else None

    def each(self, work: Callable[[Item], None], items: Sequence[Item]) -> None:
        """Call `work` on every item in inference mode, and wait. Raises the first error in the order of the items."""

        def one(item: Item) -> None:
            with torch.inference_mode():  # a mode of the thread, not of the process
                work(item)

        if self._pool is None:
            for item in items:
                one(item)
            return
        torch.set_num_threads(1)
        try:
            running = [self._pool.submit(one, item) for item in items]
            wait(running)
        finally:
            torch.set_num_threads(self._torch_threads)
        for done in running:
            done.result()

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True)


def split_range(start: int, stop: int, parts: int, multiple: int) -> list[tuple[int, int]]:
    """Return up to `parts` adjoining ranges of nearly equal length, whose lengths are multiples of `multiple` but for the last."""
    units = -(-(stop - start) // multiple)
    edges = [start + multiple * (units * part // parts) for part in range(parts)] + [stop]
    return [(low, high) for low, high in pairwise(edges) if low < high]
