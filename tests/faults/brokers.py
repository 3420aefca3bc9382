"""Redis restarted, emptied, gone for a while."""

import signal
import time

import redis

from tests.faults.moments import ALL_STAGES
from tests.faults.trial import Fault, Scene

AWAY_SECONDS, LONG_AWAY_SECONDS = 5.0, 60.0


def restart(scene: Scene) -> None:
    """Gently, which keeps what it held, or by SIGKILL, which loses it."""
    scene.cluster.redis.restart(scene.random.choice([signal.SIGTERM, signal.SIGKILL]))


def flush(scene: Scene) -> None:
    with redis.Redis.from_url(scene.cluster.redis.url) as connection:
        connection.flushall()


def away(scene: Scene) -> None:
    scene.cluster.redis.stop()
    time.sleep(LONG_AWAY_SECONDS if scene.is_long else AWAY_SECONDS)
    scene.cluster.redis.start()


FAULTS = (
    Fault("redis-restart", "Redis restarted", restart, ALL_STAGES),
    Fault("redis-flush", "Redis flushed", flush, ALL_STAGES),
    Fault("redis-away", "Redis away for a minute", away, ALL_STAGES),
)
