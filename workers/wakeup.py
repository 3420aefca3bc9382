"""Send wake-up notifications: Celery messages that make idle workers query for ready chunks.

The database is the queue. A message carries a chunk's id and decides nothing: it may be lost, late or repeated.
"""

import logging
import time
from functools import lru_cache
from typing import Any

from celery import Celery
from kombu import Connection, Exchange
from kombu import Queue as MessageQueue
from kombu.exceptions import KombuError

from interp.config.settings import Settings
from interp.domain.errors import BrokerUnreachableError, DiskFullError
from interp.domain.lifecycle import Queue
from interp.files.atomic import is_writable
from interp.store.db.engine import Engine, transaction
from interp.store.queue import chunks

log = logging.getLogger(__name__)

TASK = "glossator.notify"
PING_SECONDS = 2.0
# The pause after a broker did not answer, so that no worker's next chunk waits for it.
QUIET_SECONDS = 5.0
_quiet_until: dict[str, float] = {}  # by the broker's URL
# Seconds; senders and consumers notice a silent network. Senders try once, since work waits for them.
REDIS = {"socket_connect_timeout": 5.0, "socket_timeout": 20.0, "socket_keepalive": True, "max_retries": 0}


def make_app(settings: Settings) -> Celery:
    """Return a Celery application for the broker of the settings.

    Messages are acknowledged when taken: one that is lost with its worker is sent again from the database, while late acknowledgement has made thread
    pools exit with their broker and long tasks start several times.
    """
    if settings.is_embedded:
        folder = settings.broker_folder
        folder.mkdir(parents=True, exist_ok=True)
        url, transport = "filesystem://localhost//", "workers.file_broker:FilesystemTransport"
        options: dict[str, Any] = {
            "data_folder_in": str(folder),
            "data_folder_out": str(folder),
            "control_folder": str(folder / "control"),
            "polling_interval": 0.05,
        }
    else:
        url, transport, options = settings.broker_url, None, REDIS if settings.broker_url.startswith("redis") else {}
    app = Celery("glossator", set_as_current=False)
    app.conf.update(
        broker_url=url,
        broker_transport=transport,
        broker_transport_options=options,
        broker_connection_retry_on_startup=True,
        # However long the broker is unreachable, the worker continues and polls the database.
        broker_connection_max_retries=None,
        # The anonymous exchange: queues need no bindings, for which processes that start at once would race.
        task_queues=[MessageQueue(queue.value, Exchange(""), routing_key=queue.value) for queue in Queue],
        task_ignore_result=True,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=not settings.is_embedded,
        worker_enable_remote_control=False,
    )
    return app


@lru_cache(maxsize=4)
def _app_of(settings: Settings) -> Celery:
    return make_app(settings)


def notify(engine: Engine, settings: Settings) -> int:
    """Send due notifications after a commit that made chunks ready; return how many.

    At most `notify_max_pending` messages of a queue wait at the broker, including those of chunks taken meanwhile. An unreachable broker is no error:
    workers poll the database, and the sweeper notifies again.
    """
    now = time.monotonic()
    return sum(_notify(engine, settings, queue) for queue in (Queue.GPU, Queue.LLM) if now >= _quiet_until.get(settings.broker_url, now))


def _notify(engine: Engine, settings: Settings, queue: Queue) -> int:
    app = _app_of(settings)
    due: list[str] = []
    sent = 0
    try:
        with app.producer_pool.acquire(block=True) as producer:
            free = settings.notify_max_pending - int(producer.channel.queue_declare(queue.value).message_count)
        if free > 0:
            with transaction(engine) as session:
                due = chunks.due_notifications(session, queue, settings.notify_max_pending, settings.notify_again_seconds, free)
        for chunk_id in due:
            app.send_task(TASK, args=[chunk_id], queue=queue.value, expires=2 * settings.notify_again_seconds, retry=False)
            sent += 1
    # Also the driver's errors on a broken connection, which kombu passes on unchanged.
    except (KombuError, OSError, DiskFullError, *app.connection().connection_errors, *app.connection().channel_errors) as error:
        log.warning("the broker does not answer, notifications will be sent again: %s", error)
        _quiet_until[settings.broker_url] = time.monotonic() + QUIET_SECONDS
        with transaction(engine) as session:
            chunks.withdraw_notifications(session, due[sent:])
    return sent


def broker_fault(settings: Settings) -> BrokerUnreachableError | None:
    """Return the broker's fault within about `PING_SECONDS`, or None when it works."""
    if settings.is_embedded:
        if is_writable(settings.broker_folder):
            return None
        cure = "Give yourself the right to write there, or set GLOSSATOR_HOME."
        return BrokerUnreachableError(f"The broker {settings.broker_folder} cannot be written to.", cure=cure)
    timeouts = {"socket_connect_timeout": PING_SECONDS, "socket_timeout": PING_SECONDS}
    try:
        with Connection(settings.broker_url, connect_timeout=PING_SECONDS, transport_options=timeouts) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=PING_SECONDS)
            connection.default_channel.close()
    except Exception as error:  # each transport has errors of its own, all with the same meaning here
        cure = "Start it, or set GLOSSATOR_BROKER_URL."
        return BrokerUnreachableError(f"The broker {settings.shown_broker} does not answer.", why=f"{error}.", cure=cure)
    return None
