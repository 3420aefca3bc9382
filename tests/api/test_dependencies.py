"""Far more requests at once than there are threads or connections: each is answered, soon."""

import asyncio
from collections import Counter

import httpx
from sqlalchemy import Engine

from api.server import Service
from interp.config.settings import Settings

# Many times the 40 threads and 15 connections.
READERS, SECONDS = 250, 60.0


async def crowd(url: str) -> Counter[int]:
    limits = httpx.Limits(max_connections=READERS)
    async with httpx.AsyncClient(base_url=url, timeout=SECONDS, limits=limits) as client:
        return Counter([answer.status_code for answer in await asyncio.gather(*(client.get("/v1/dictionaries") for _ in range(READERS)))])


def test_readers_that_wait_for_a_connection_leave_the_others_a_thread_to_give_theirs_back(service_settings: Settings, store: Engine) -> None:
    """A connection is waited for 30 seconds, then the answer would be 500."""
    with Service(service_settings, "127.0.0.1", 0, workers=False) as service:
        assert asyncio.run(crowd(service.url)) == {200: READERS}
