"""Make many calls at once."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

from interp.domain.errors import CallFailedError, JobPausedError

T = TypeVar("T")


async def gather_all(questions: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Return all answers, in order.

    Where one raises, the others are awaited: their calls are in flight and paid for, and a job that is resumed finds their answers. Then the first
    error is raised, one that pauses the job before any other. Cancelled itself, it cancels all.
    """
    tasks = [asyncio.ensure_future(question) for question in questions]
    await asyncio.gather(*tasks, return_exceptions=True)
    errors = [error for task in tasks if (error := task.exception()) is not None]
    if errors:
        raise next((error for error in errors if isinstance(error, JobPausedError)), errors[0])
    return [task.result() for task in tasks]


class CallsInFlight:
    """Calls in flight of one event loop, shared by concurrent callers of the same."""

    def __init__(self) -> None:
        self._futures: dict[str, asyncio.Future[object]] = {}

    async def share(self, key: str, make: Callable[[], Awaitable[T]]) -> T:
        """Return what `make` returns, for this caller or for one before.

        A failed call fails for all who share it. A pause or cancellation concerns one job: then the next caller makes the call.
        """
        while (future := self._futures.get(key)) is not None:
            shared = await asyncio.shield(future)
            if isinstance(shared, CallFailedError):
                raise shared.copy()
            if shared is not None:
                return shared  # type: ignore[return-value]  # the key decides the type
        future = self._futures[key] = asyncio.get_running_loop().create_future()
        outcome: object = None
        try:
            outcome = made = await make()
            return made
        except CallFailedError as error:
            outcome = error
            raise
        finally:
            del self._futures[key]
            future.set_result(outcome)
