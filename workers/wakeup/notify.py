"""Ringing for work: one message a ready chunk, and never more than a window of them."""

import logging
import time
from functools import lru_cache

from kombu.exceptions import KombuError
from sqlalchemy import Engine

from interp.config.settings import Settings
from interp.domain.errors import DiskFullError
from interp.domain.lifecycle import Queue
from interp.store.db.engine import transaction
from interp.store.queue import chunks
from workers.wakeup.celery_app import BELL, make_app

log = logging.getLogger(__name__)


# A broker that did not answer is left alone for so long: nobody's next chunk waits for it.
QUIET_SECONDS = 5.0


class BrokerConnection:
    """This process's way to the broker."""

    def __init__(self, settings: Settings) -> None:
        self._app = make_app(settings)
        self._expires = 2 * settings.notify_again_seconds
        self._quiet_until = 0.0
        connection = self._app.connection()
        # What the transport's own driver raises where a connection breaks that was there before: kombu passes it on as it is.
        self.errors: tuple[type[Exception], ...] = (KombuError, OSError, DiskFullError, *connection.connection_errors, *connection.channel_errors)

    @property
    def is_open(self) -> bool:
        return time.monotonic() >= self._quiet_until

    def waiting(self, queue: Queue) -> int:
        """Messages that wait at the broker. Raises one of `errors`."""
        with self._app.producer_pool.acquire(block=True) as producer:
            return int(producer.channel.queue_declare(queue.value).message_count)

    def send(self, queue: Queue, chunk_id: str) -> None:
        """Raises one of `errors`."""
        self._app.send_task(BELL, args=[chunk_id], queue=queue.value, expires=self._expires, retry=False)

    def fell_silent(self, error: Exception) -> None:
        log.warning("the broker does not answer, bells will be rung again: %s", error)
        self._quiet_until = time.monotonic() + QUIET_SECONDS


def ring(engine: Engine, settings: Settings) -> int:
    """Rings for the ready chunks that nobody was told of, or long ago; returns for how many. Call it after each commit that made some ready.

    No more messages than the window holds wait at the broker, those included that nobody needs any more, since their chunks were taken meanwhile.
    A broker that does not answer is no error: the chunks are in the database, where idle workers look, and the sweeper rings again.
    """
    line = _line(settings)
    return sum(_ring(engine, settings, line, queue) for queue in (Queue.GPU, Queue.LLM) if line.is_open)


def _ring(engine: Engine, settings: Settings, line: BrokerConnection, queue: Queue) -> int:
    due: list[str] = []
    rung = 0
    try:
        room = settings.notify_max_pending - line.waiting(queue)
        if room > 0:
            with transaction(engine) as session:
                due = chunks.ring_due(session, queue, settings.notify_max_pending, settings.notify_again_seconds, room)
        for chunk_id in due:
            line.send(queue, chunk_id)
            rung += 1
    except line.errors as error:
        line.fell_silent(error)
        with transaction(engine) as session:
            chunks.unring(session, due[rung:])
    return rung


@lru_cache(maxsize=4)
def _line(settings: Settings) -> BrokerConnection:
    return BrokerConnection(settings)
