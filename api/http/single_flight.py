"""One look for all who ask the same at once. Lives on the event loop: who waits holds no thread."""

import asyncio
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from anyio.to_thread import run_sync

Answer = TypeVar("Answer")


class SingleFlight(Generic[Answer]):
    """Who asks while a look is under way waits for the next one, together with all who come meanwhile: so an answer is never older than its question.

    A thousand clients that poll one job cost the database two looks at a time, and nothing is kept once nobody waits.
    """

    def __init__(self) -> None:
        self._under_way: dict[Hashable, asyncio.Task[Answer]] = {}
        self._waiting: dict[Hashable, asyncio.Task[Answer]] = {}

    async def ask(self, key: Hashable, look: Callable[[], Answer]) -> Answer:
        """What `look` gives, called in a thread: ours or that of another one who asked for `key`. Raises what it raised."""
        flight = self._waiting.get(key)
        if flight is None:
            flight = self._waiting[key] = asyncio.create_task(self._fly(key, look))
        # A client that goes away must not take the look from the others.
        return await asyncio.shield(flight)

    async def _fly(self, key: Hashable, look: Callable[[], Answer]) -> Answer:
        before = self._under_way.get(key)
        if before is not None:
            await asyncio.wait([before])
        self._under_way[key] = self._waiting.pop(key)
        try:
            return await run_sync(look)
        finally:
            del self._under_way[key]
