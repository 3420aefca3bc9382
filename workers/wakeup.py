"""Send wake-up notifications: Celery messages that make idle workers query for ready chunks.

The database is the queue. A message carries a chunk's id and decides nothing: it may be lost, late or repeated.
"""

import logging
import os
import time
import uuid
from functools import lru_cache
from pathlib import Path
from queue import Empty
from typing import Any

from celery import Celery
from kombu import Connection, Exchange
from kombu import Queue as MessageQueue
from kombu.exceptions import KombuError
from kombu.transport import filesystem
from kombu.utils.json import dumps, loads

from interp.config.settings import Settings
from interp.domain.errors import BrokerUnreachableError, DiskFullError
from interp.domain.lifecycle import Queue
from interp.files.atomic import is_writable, writing
from interp.store.db.engine import Engine, transaction
from interp.store.queue import chunks

log = logging.getLogger(__name__)

TASK = "glossator.notify"
PING_SECONDS = 2.0
# The pause after a broker did not answer, so that no worker's next chunk waits for it.
QUIET_SECONDS = 5.0
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
        url, transport = "filesystem://localhost//", f"{__name__}:FilesystemTransport"
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
        task_create_missing_queues=False,
        task_ignore_result=True,
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=not settings.is_embedded,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
    )
    return app


class Channel(filesystem.Channel):  # type: ignore[misc]  # kombu has no types
    """A channel of one file per message, `<nanoseconds>_<random>.<queue>.msg`, written and taken by rename.

    Oldest first. kombu's own channel writes under the final name, so that a reader may find half a message, and takes it by way of the system's
    temporary folder, where a move may be a copy.
    """

    def _put(self, queue: str, payload: dict[str, Any], **_options: Any) -> None:
        message = Path(self.data_folder_out) / f"{time.time_ns():020d}_{uuid.uuid4().hex}.{queue}.msg"
        unfinished = message.with_suffix(".part")
        with writing(unfinished) as file:
            file.write(dumps(payload).encode())
        unfinished.rename(message)

    def _get(self, queue: str) -> dict[str, Any]:
        folder = self.data_folder_in  # no Path: an idle worker looks twenty times per second
        for name in sorted(name for name in os.listdir(folder) if name.endswith(f".{queue}.msg")):  # noqa: PTH208
            taken = Path(folder, name).with_suffix(".taken")
            try:
                Path(folder, name).rename(taken)
            except FileNotFoundError:
                continue  # another worker was faster
            payload: dict[str, Any] = loads(taken.read_text())
            taken.unlink()
            return payload
        raise Empty


class FilesystemTransport(filesystem.Transport):  # type: ignore[misc]  # kombu has no types
    """The embedded broker: kombu's filesystem transport with the channel above."""

    Channel = Channel


class BrokerConnection:
    """This process's connection to the broker."""

    def __init__(self, settings: Settings) -> None:
        self.app = make_app(settings)
        self.quiet_until = 0.0
        connection = self.app.connection()
        # Includes the driver's errors on a broken connection, which kombu passes on unchanged.
        self.errors: tuple[type[Exception], ...] = (KombuError, OSError, DiskFullError, *connection.connection_errors, *connection.channel_errors)


def notify(engine: Engine, settings: Settings) -> int:
    """Send due notifications after a commit that made chunks ready; return how many.

    At most `notify_max_pending` messages of a queue wait at the broker, including those of chunks taken meanwhile. An unreachable broker is no error:
    workers poll the database, and the sweeper notifies again.
    """
    broker = _broker(settings)
    return sum(_notify(engine, settings, broker, queue) for queue in (Queue.GPU, Queue.LLM) if time.monotonic() >= broker.quiet_until)


def _notify(engine: Engine, settings: Settings, broker: BrokerConnection, queue: Queue) -> int:
    due: list[str] = []
    sent = 0
    try:
        with broker.app.producer_pool.acquire(block=True) as producer:
            free = settings.notify_max_pending - int(producer.channel.queue_declare(queue.value).message_count)
        if free > 0:
            with transaction(engine) as session:
                due = chunks.due_notifications(session, queue, settings.notify_max_pending, settings.notify_again_seconds, free)
        for chunk_id in due:
            broker.app.send_task(TASK, args=[chunk_id], queue=queue.value, expires=2 * settings.notify_again_seconds, retry=False)
            sent += 1
    except broker.errors as error:
        log.warning("the broker does not answer, notifications will be sent again: %s", error)
        broker.quiet_until = time.monotonic() + QUIET_SECONDS
        with transaction(engine) as session:
            chunks.withdraw_notifications(session, due[sent:])
    return sent


@lru_cache(maxsize=4)
def _broker(settings: Settings) -> BrokerConnection:
    return BrokerConnection(settings)


def check_broker(settings: Settings) -> None:
    """Raise BrokerUnreachableError where the broker cannot be used."""
    if fault := broker_fault(settings):
        shown, cure = shown_broker(settings), broker_cure(settings)
        raise BrokerUnreachableError(f"The broker {shown} cannot be used.", why=fault[:1].upper() + fault[1:] + ".", cure=cure)


def shown_broker(settings: Settings) -> str:
    """Return the broker's folder, or its URL without user and password."""
    return str(settings.broker_folder) if settings.is_embedded else settings.broker_url.split("@")[-1]


def broker_cure(settings: Settings) -> str:
    """Return what to do where the broker cannot be used."""
    return "Give yourself the right to write there, or set GLOSSATOR_HOME." if settings.is_embedded else "Start it, or set GLOSSATOR_BROKER_URL."


def broker_fault(settings: Settings) -> str | None:
    """Return the broker's fault within about `PING_SECONDS`, or None when it works."""
    if settings.is_embedded:
        return None if is_writable(settings.broker_folder) else f"cannot be written to: {settings.broker_folder}"
    timeouts = {"socket_connect_timeout": PING_SECONDS, "socket_timeout": PING_SECONDS}
    try:
        with Connection(settings.broker_url, connect_timeout=PING_SECONDS, transport_options=timeouts) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=PING_SECONDS)
            connection.default_channel.close()
    except Exception as error:  # each transport has errors of its own, all with the same meaning here
        return f"does not answer: {error}"
    return None
