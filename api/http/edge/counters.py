"""Count requests against rates, in Redis for all processes or in this one's memory.

While Redis does not answer, each process counts for itself: the service goes on, and a client may send as many times as much as there are processes.
"""

import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from limits import RateLimitItem
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import RateLimiter, SlidingWindowCounterRateLimiter
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from interp.config.settings import Settings
from interp.observability import logs

log = logs.get_logger(__name__)

Found = TypeVar("Found")

# A request waits no longer for Redis, and Redis is not asked again for a while.
ANSWER_SECONDS, AWAY_SECONDS = 1.0, 10.0
CONNECTIONS = 32
# Counters in memory; further addresses share one.
MOST_COUNTERS = 4096
OTHERS = "others"
PREFIX = "glossator-rates"


@dataclass(frozen=True, slots=True)
class Standing:
    """What is left of a rate for one client, and the seconds until more is."""

    rate: RateLimitItem
    remaining: int
    seconds: int
    is_allowed: bool


class Counters:
    """Counters by rate and client, in the event loop of one application."""

    def __init__(self, settings: Settings) -> None:
        self._memory = MemoryStorage()
        self._own = SlidingWindowCounterRateLimiter(self._memory)
        self._redis = _redis(settings.broker_url)
        self._shared = None if self._redis is None else SlidingWindowCounterRateLimiter(self._redis)
        self._away_until = 0.0

    async def hit(self, rates: Sequence[RateLimitItem], *client: str) -> Standing:
        """Count one request against each rate; return the tightest one."""
        standings = []
        for rate in rates:
            is_allowed = await self._ask(lambda limiter, rate=rate: limiter.hit(rate, *self._counted(client)))  # type: ignore[misc]
            standings.append(await self._standing(rate, client, is_allowed))
            if not is_allowed:
                return standings[-1]
        return min(standings, key=lambda standing: standing.remaining / standing.rate.amount)

    async def refusal(self, rates: Sequence[RateLimitItem], *client: str) -> Standing | None:
        """Return the rate that would refuse one more request, without counting it."""
        for rate in rates:
            if not await self._ask(lambda limiter, rate=rate: limiter.test(rate, *self._counted(client))):  # type: ignore[misc]
                return await self._standing(rate, client, False)
        return None

    async def close(self) -> None:
        """Close the connections to Redis."""
        if self._redis is not None:
            await self._redis.bridge.get_connection().aclose(close_connection_pool=True)  # type: ignore[attr-defined]

    async def _standing(self, rate: RateLimitItem, client: tuple[str, ...], is_allowed: bool) -> Standing:
        stats = await self._ask(lambda limiter: limiter.get_window_stats(rate, *self._counted(client)))
        return Standing(rate, stats.remaining if is_allowed else 0, max(1, math.ceil(stats.reset_time - time.time())), is_allowed)

    async def _ask(self, question: Callable[[RateLimiter], Awaitable[Found]]) -> Found:
        if self._shared is None or time.monotonic() < self._away_until:
            return await question(self._own)
        try:
            found = await question(self._shared)
        except (RedisError, OSError, TimeoutError) as error:
            if not self._away_until:
                log.warning("rates are counted in each process: Redis does not answer", error=f"{type(error).__name__}: {error}")
            self._away_until = time.monotonic() + AWAY_SECONDS
            return await question(self._own)
        if self._away_until:
            log.info("rates are counted in Redis again")
            self._away_until = 0.0
        return found

    def _counted(self, client: tuple[str, ...]) -> tuple[str, ...]:
        """Return the client, or the one that all others share once memory holds many."""
        kind, *_ = client
        return client if kind == "key" or len(self._memory.storage) < MOST_COUNTERS else (kind, OTHERS)


def _redis(url: str) -> RedisStorage | None:
    if not url.startswith(("redis://", "rediss://")):
        return None
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=ANSWER_SECONDS,
            socket_timeout=ANSWER_SECONDS,
            socket_connect_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
    except (RedisError, ValueError) as error:
        log.warning("rates are counted in each process: the broker's URL cannot be used", error=type(error).__name__)
        return None
    return RedisStorage(f"async+{url}", implementation="redispy", key_prefix=PREFIX, connection_pool=pool)  # type: ignore[arg-type]
