"""Many questions at once."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from interp.domain.errors import JobPausedError

T = TypeVar("T")


async def gather_all(questions: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All answers, in order. Where one raises, the others are waited for: their calls are under way and paid for, and a job that is resumed finds
    their answers. Then the first error comes out, one that pauses the job before any other. Cancelled itself, it cancels all."""
    tasks = [asyncio.ensure_future(question) for question in questions]
    await asyncio.gather(*tasks, return_exceptions=True)
    errors = [error for task in tasks if (error := task.exception()) is not None]
    if errors:
        raise next((error for error in errors if isinstance(error, JobPausedError)), errors[0])
    return [task.result() for task in tasks]
