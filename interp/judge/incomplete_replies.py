"""Replies that leave out part of what they were asked: when one more turn is worth it."""

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

# So few missing answers are asked for one by one; for more, the reply is repaired first, since a question costs more than a turn.
FEW_MISSING = 2


def complete_once(parse: Callable[[str], T], missing: Callable[[T], Sequence[int]]) -> Callable[[str], T]:
    """Make `parse` refuse the first reply that leaves more than `FEW_MISSING` answers out.

    `missing` gives the numbers of the answers that a parsed reply lacks. The refusal (ValueError) makes
    `interp.llm.replies.structured.ask_for` ask for them in its repair turn.
    A later reply is taken as it is: the caller asks for what is missing then one by one.
    """
    is_first = True

    def read(text: str) -> T:
        nonlocal is_first
        was_first, is_first = is_first, False
        found = parse(text)
        numbers = [str(number) for number in missing(found)]
        if was_first and len(numbers) > FEW_MISSING:
            raise ValueError(f"it has no readable answer under {', '.join(numbers)}")
        return found

    return read
