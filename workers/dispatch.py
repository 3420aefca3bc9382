"""Ringing for work: one message a ready chunk, and never more than a window of them."""

import logging
from functools import lru_cache

from celery import Celery
from kombu.exceptions import OperationalError
from sqlalchemy import Engine

from interp.lifecycle import Queue
from interp.settings import Settings
from interp.store import chunks
from interp.store.engine import transaction
from workers.app import BELL, make_app

log = logging.getLogger(__name__)


def ring(engine: Engine, settings: Settings) -> int:
    """Rings for the ready chunks that nobody was told of, or long ago; returns for how many. Call it after each commit that made some ready.

    A broker that does not answer is no error: the chunks are in the database, and the sweeper rings again.
    """
    with transaction(engine) as session:
        due = {queue: chunks.ring_due(session, queue, settings.bell_window, settings.bell_seconds) for queue in Queue}
    app = _app(settings)
    try:
        for queue, chunk_ids in due.items():
            for chunk_id in chunk_ids:
                app.send_task(BELL, args=[chunk_id], queue=queue.value, expires=2 * settings.bell_seconds, retry=False)
    except (OperationalError, OSError) as error:
        log.warning("the broker does not answer, bells will be rung again: %s", error)
    return sum(map(len, due.values()))


@lru_cache(maxsize=4)
def _app(settings: Settings) -> Celery:
    return make_app(settings)
