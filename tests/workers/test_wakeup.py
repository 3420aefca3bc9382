"""Notifying: a broker that breaks off is no error for the sender, and what could not be sent is due again."""

from collections.abc import Iterator

import pytest
import redis
from sqlalchemy import Engine

from api.demo.local_servers import LocalServer
from interp.config.settings import Settings
from interp.domain.lifecycle import Queue, Stage
from interp.planning.plan import ChunkPlan
from tests.store import steps
from workers import wakeup
from workers.wakeup import notify

PLANS = [ChunkPlan(Stage.EXPLAIN, number, 4) for number in range(3)]


@pytest.fixture
def on_redis(settings: Settings, private_redis: LocalServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setattr(wakeup, "QUIET_SECONDS", 0.0)
    redis.Redis.from_url(private_redis.url).flushall()
    yield settings.model_copy(update={"broker_url": private_redis.url, "notify_max_pending": 2})


def waiting(server: LocalServer) -> int:
    return int(redis.Redis.from_url(server.url).llen(Queue.LLM.value))


def test_no_more_notifications_wait_at_the_broker_than_allowed(engine: Engine, on_redis: Settings, private_redis: LocalServer) -> None:
    steps.running(engine, *PLANS)
    assert notify(engine, on_redis) == 2
    assert notify(engine, on_redis) == 0, "nobody has answered one yet"
    assert waiting(private_redis) == 2


def test_a_broker_that_breaks_off_in_between_is_no_error(engine: Engine, on_redis: Settings, private_redis: LocalServer) -> None:
    assert notify(engine, on_redis) == 0, "the connection is there"
    private_redis.stop()
    try:
        steps.running(engine, *PLANS)
        assert notify(engine, on_redis) == 0
    finally:
        private_redis.start()
    assert notify(engine, on_redis) == 2, "what could not be sent is due at once"
    assert waiting(private_redis) == 2
