"""Limit calls in flight per endpoint, key and model: additive increase, multiplicative decrease.

The rule is TCP's (Chiu and Jain 1989; RFC 5681): until the first cut the window doubles per round trip, then it grows by a fixed step per round trip.
A reply that signals overload cuts it by a share, once for all calls that were in flight together. Used from one event loop.
"""

import asyncio
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Outcome = Literal["success", "pushed_back", "other"]

START = 16.0
FLOOR = 1.0
CUT = 0.7  # CUBIC's factor (RFC 9438): halving empties a window that a few stray 429s should only trim
STEPS_TO_CEILING = 16.0  # round trips from nothing to the ceiling, growing evenly
MAX_PAUSE_SECONDS = 600.0
# A loop's clock may count whole milliseconds, and a timer fire that much early.
CLOCK_SECONDS = 0.002


@dataclass(frozen=True, slots=True)
class Permit:
    """The right to one call in flight; `epoch` counts cuts, `number` permits before."""

    epoch: int
    number: int


class ConcurrencyLimiter:
    """The window of one model at one endpoint.

    `ceiling` is the most that may ever be in flight, `max_pause` in seconds bounds a pause.
    """

    def __init__(self, ceiling: int, start: float = START, max_pause: float = MAX_PAUSE_SECONDS) -> None:
        self.ceiling, self._max_pause = ceiling, max_pause
        self.window = min(start, float(ceiling))
        self.in_flight = 0
        self._step = max(1.0, ceiling / STEPS_TO_CEILING)
        self._epoch = 0
        self._given = 0
        self._last_full = 0
        self._waiting: deque[asyncio.Future[Permit]] = deque()
        self._resume_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def acquire(self) -> Permit:
        """Wait in order for a free place in the window and a pause's end."""
        if not self._waiting and self._has_place():
            return self._permit()
        waiter: asyncio.Future[Permit] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.release(waiter.result(), "other")  # the permit came just as the caller left
            raise

    def release(self, permit: Permit, outcome: Outcome) -> None:
        """Return the permit, and let the outcome move the window.

        The window grows only where it was full while the call was in flight.
        """
        self.in_flight -= 1
        if outcome == "success" and self._last_full >= permit.number and permit.epoch == self._epoch:
            self.window = min(float(self.ceiling), self.window + (self._step / self.window if self._epoch else 1.0))
        elif outcome == "pushed_back" and permit.epoch == self._epoch:
            self._epoch += 1
            self.window = max(FLOOR, self.window * CUT)
        self._wake()

    def pause(self, seconds: float) -> None:
        """Let no call start within the next `seconds`."""
        until = asyncio.get_running_loop().time() + min(seconds, self._max_pause)
        self._resume_at = max(self._resume_at, until)
        self._arm()

    def observe(self, headers: Mapping[str, str], tokens: int) -> None:
        """Pause when `x-ratelimit-*` headers allow no call of `tokens` tokens before the reset."""
        for what, needed in (("requests", 1), ("tokens", tokens)):
            remaining = headers.get(f"x-ratelimit-remaining-{what}")
            reset = headers.get(f"x-ratelimit-reset-{what}")
            if remaining is None or reset is None:
                continue
            seconds = duration(reset)
            if seconds and remaining.strip().isdigit() and int(remaining) < needed:
                self.pause(seconds)

    def _permit(self) -> Permit:
        self.in_flight += 1
        self._given += 1
        if self.in_flight >= int(self.window):
            self._last_full = self._given
        return Permit(self._epoch, self._given)

    def _has_place(self) -> bool:
        return self.in_flight < int(self.window) and not self._resume_at

    def _wake(self) -> None:
        while self._waiting and self._has_place():
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(self._permit())

    def _arm(self) -> None:
        """Start the timer that ends a pause, and is the only one to do so."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(self._resume_at, self._pause_ends)

    def _pause_ends(self) -> None:
        self._timer = None
        if asyncio.get_running_loop().time() + CLOCK_SECONDS < self._resume_at:
            self._arm()  # the pause was prolonged meanwhile
        else:
            self._resume_at = 0.0
            self._wake()


UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def duration(text: str) -> float | None:
    """Return seconds from `1s`, `6m0s`, `20ms`, `1h2m3.5s` or a bare number, else None."""
    text = text.strip().lower()
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return sum(float(number) * UNITS[unit] for number, unit in parts)
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else None
