"""Work on several cores without barriers: a lane is a thread whose torch operations stay on one core, so that a tile stays in its cache."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")


class Lanes:
    """As many threads as torch has on the CPU; one, the caller's own, on another device."""

    def __init__(self, device: torch.device) -> None:
        self._threads = torch.get_num_threads()
        self.count = self._threads if device.type == "cpu" else 1
        self._pool = ThreadPoolExecutor(self.count, "collect", initializer=torch.set_num_threads, initargs=(1,)) if self.count > 1 else None

    def each(self, work: Callable[[Item], None], items: Sequence[Item]) -> None:
        """Runs `work` on every item and waits for all. Raises the first error in the order of the items."""
        if self._pool is None:
            for item in items:
                work(item)
            return
        torch.set_num_threads(1)
        try:
            for done in [self._pool.submit(work, item) for item in items]:
                done.result()
        finally:
            torch.set_num_threads(self._threads)

    def close(self) -> None:
        """Ends the threads."""
        if self._pool is not None:
            self._pool.shutdown(wait=True)
