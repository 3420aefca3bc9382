"""Policy of retries: which failures pass, and how long to wait before the next attempt."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

# The server did not do what was asked, and may later.
PASSING = frozenset({httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE})
REPEATABLE = frozenset({"GET", "HEAD", "PUT", "DELETE"})
# The server has seen nothing of the request.
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
LOST = (*NOT_SENT, httpx.NetworkError, httpx.RemoteProtocolError)


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a request is sent, and how long to wait between two attempts.

    The wait doubles with each failure, and half of it is drawn at random, so that clients do not return together. A server's `Retry-After` is waited
    for in full; a longer one than `longest_wait_seconds` ends the attempts.
    """

    attempts: int = 5
    first_wait_seconds: float = 0.5
    longest_wait_seconds: float = 60.0

    def wait_seconds(self, failures: int, retry_after: float | None, draw: float) -> float | None:
        """Return the wait after some failures, or None; `draw` is from 0 to 1."""
        if failures >= self.attempts or (retry_after or 0) > self.longest_wait_seconds:
            return None
        own = min(self.first_wait_seconds * 2 ** (failures - 1), self.longest_wait_seconds)
        return own * (1 + draw) / 2 if retry_after is None else retry_after + self.first_wait_seconds * draw


NO_RETRIES = Retries(attempts=1)


def retry_after_seconds(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Return the seconds of `Retry-After` (RFC 9110, 10.2.3), or None without a valid one."""
    given = headers.get("retry-after", "").strip()
    if given.isascii() and given.isdigit():
        return float(given[:9])
    try:
        due = parsedate_to_datetime(given)
    except (TypeError, ValueError):
        return None
    due = due if due.tzinfo else due.replace(tzinfo=UTC)
    return max((due - (now or datetime.now(UTC))).total_seconds(), 0.0)
