"""The Celery application. A message is a doorbell: it carries a chunk id and decides nothing."""

from typing import Any

from celery import Celery
from kombu import Exchange
from kombu import Queue as MessageQueue

from interp.config.settings import Settings
from interp.domain.lifecycle import Queue

BELL = "glossator.bell"
POLLING_SECONDS = 0.05
# Seconds. A broker behind a network that swallows everything is noticed, by who rings and by who listens. Who rings tries once, since work waits
# for it; who listens begins anew for ever.
REDIS = {"socket_connect_timeout": 5.0, "socket_timeout": 20.0, "socket_keepalive": True, "max_retries": 0}


def make_app(settings: Settings) -> Celery:
    """A Celery application for the broker of the settings.

    Messages are acknowledged when they are taken: a message lost with its worker is rung again from the database, while late
    acknowledgement has made threads pools exit with their broker and long tasks start several times.
    """
    app = Celery("glossator", set_as_current=False)
    app.conf.update(
        broker_connection_retry_on_startup=True,
        # A broker may be away for as long as it likes: the worker lives on by looking into the database (`workers/runtime/poller.py`).
        broker_connection_max_retries=None,
        # The anonymous exchange: queues need no bindings, so that processes that start at once have nothing to race for.
        task_queues=[MessageQueue(queue.value, Exchange(""), routing_key=queue.value) for queue in Queue],
        task_create_missing_queues=False,
        task_ignore_result=True,
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=not settings.is_embedded,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        **_broker(settings),
    )
    return app


def _broker(settings: Settings) -> dict[str, Any]:
    if not settings.is_embedded:
        return {"broker_url": settings.broker_url, "broker_transport_options": REDIS if settings.broker_url.startswith("redis") else {}}
    folder = settings.broker_folder
    folder.mkdir(parents=True, exist_ok=True)
    options = {
        "data_folder_in": str(folder),
        "data_folder_out": str(folder),
        "control_folder": str(folder / "control"),
        "polling_interval": POLLING_SECONDS,
    }
    return {
        "broker_url": "filesystem://localhost//",
        "broker_transport": "workers.wakeup.filesystem_broker:FilesystemTransport",
        "broker_transport_options": options,
    }
