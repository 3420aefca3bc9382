"""Waiting for a condition, with an end."""

import time
from collections.abc import Callable
from typing import TypeVar

DEADLINE = 150.0
Found = TypeVar("Found")


def until(condition: Callable[[], Found | None], what: str, every: float = 0.05) -> Found:
    """What the condition gives once it gives something; fails after the deadline."""
    end = time.monotonic() + DEADLINE
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {DEADLINE:.0f} s for {what}"
        time.sleep(every)
    return found
