"""Threads that run torch on a core each without barriers, so tiles stay in cache."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise
from typing import TypeVar

import torch

Item = TypeVar("Item")


class WorkerThreads:
    """As many threads as torch uses on the CPU; on other devices the caller's only."""

    def __init__(self, device: torch.device) -> None:
        self._torch_threads = torch.get_num_threads()
        self.count = self._torch_threads if device.type == "cpu" else 1
        self._pool = ThreadPoolExecutor(self.count, "collect", initializer=torch.set_num_threads, initargs=(1,)) if self.count > 1 else None

    def each(self, work: Callable[[Item], None], items: Sequence[Item]) -> None:
        """Call `work` on all items in inference mode, and raise the first item's error."""

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
    """Return at most `parts` adjoining, nearly equal ranges: multiples of `multiple`, except the last."""
    units = -(-(stop - start) // multiple)
    edges = [start + multiple * (units * part // parts) for part in range(parts)] + [stop]
    return [(low, high) for low, high in pairwise(edges) if low < high]
