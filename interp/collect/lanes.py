"""Work on several cores without barriers: a lane is a thread whose torch operations stay on one core, so that a tile stays in its cache."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
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
        """Runs `work` on every item, in inference mode, and waits for all. Raises the first error in the order of the items."""

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
            torch.set_num_threads(self._threads)
        for done in running:
            done.result()

    def close(self) -> None:
        """Ends the threads."""
        if self._pool is not None:
            self._pool.shutdown(wait=True)
