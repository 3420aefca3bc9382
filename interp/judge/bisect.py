"""Prompts that fail: one item may be to blame, that the model refuses to read or that is too long, and the others need not suffer."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from interp.domain.errors import CallFailedError
from interp.llm.gather import gather_all

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


async def answered(
    ask: Callable[[Sequence[Asked]], Awaitable[list[Answer] | CallFailedError]], items: Sequence[Asked], failed: Callable[[CallFailedError], Answer]
) -> list[Answer]:
    """An answer for each item. `ask` puts one prompt about several and gives a failure as a value; `failed` makes an answer of it.

    The halves of a prompt that failed are asked apart, and the half that fails is halved again. Where both fail it is no one item's doing, and all
    fail: a model that refuses everything is not asked item by item.
    """
    said = await ask(items)
    return await _apart(ask, items, said, failed) if isinstance(said, CallFailedError) else said


async def _apart(
    ask: Callable[[Sequence[Asked]], Awaitable[list[Answer] | CallFailedError]],
    items: Sequence[Asked],
    error: CallFailedError,
    failed: Callable[[CallFailedError], Answer],
) -> list[Answer]:
    middle = len(items) // 2
    halves = [items[:middle], items[middle:]] if middle else []
    said = await gather_all(_asked(ask, half) for half in halves)
    if all(isinstance(each, CallFailedError) for each in said):
        return [failed(error)] * len(items)
    found: list[Answer] = []
    for half, each in zip(halves, said, strict=True):
        found += await _apart(ask, half, each, failed) if isinstance(each, CallFailedError) else each
    return found


async def _asked(
    ask: Callable[[Sequence[Asked]], Awaitable[list[Answer] | CallFailedError]], items: Sequence[Asked]
) -> list[Answer] | CallFailedError:
    return await ask(items)
