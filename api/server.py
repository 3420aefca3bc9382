"""Run the service: REST in a thread of this process, workers in supervised child processes."""

import logging
import math
import os
import signal
import socket
import sys
import threading
import time
from contextlib import ExitStack
from types import FrameType, TracebackType
from typing import IO, Self

import uvicorn

from api.app import create_app
from api.http.connection_limits import protocol
from interp.config.home import HomeLock
from interp.config.settings import Settings, is_loopback
from interp.domain.api_key import parsed
from interp.domain.errors import GlossatorError
from interp.store import migrate
from interp.store.access import keys
from interp.store.db.engine import make_engine, transaction
from workers.supervisor import Supervisor

log = logging.getLogger(__name__)

START_SECONDS = 30.0
STOP_SECONDS = 5


class AddressTakenError(GlossatorError, code="address-taken", title="The address cannot be listened on", exit_status=2):
    """The service cannot listen on its address."""


class NoKeyError(GlossatorError, code="no-key", title="Anyone who reaches the address could do anything", exit_status=2):
    """The service has no key, and its address can be reached from other machines."""


class Service:
    """REST on one address with its own workers; inside the context manager `url` answers."""

    def __init__(self, settings: Settings, host: str, port: int, workers: bool = True, log_to: IO[bytes] | None = None) -> None:
        """Open the address (`port` 0: a free one); workers log to `log_to` or stderr."""
        self._settings = settings
        with ExitStack() as opened:
            # Before the address: a second server on the same home reports the first server, not its port.
            lock = HomeLock(settings.home) if settings.is_alone else None
            if lock is not None:
                opened.callback(lock.release)
            self._socket = opened.enter_context(_bound(host, port))
            name = f"[{host}]" if ":" in host else host
            self.url = f"http://{name}:{self._socket.getsockname()[1]}"
            if lock is not None:
                lock.name(self.url)
            app = create_app(settings.model_copy(update={"host": host}), is_stopping=lambda: self._server.should_exit)
            config = uvicorn.Config(
                app,
                http=protocol(settings),
                ws="none",
                log_level="warning",
                log_config=None,
                server_header=False,
                proxy_headers=False,  # api.http.edge.client_address reads them
                timeout_keep_alive=settings.keep_alive_timeout_seconds,  # type: ignore[arg-type]  # The event loop takes any number.
                timeout_graceful_shutdown=math.ceil(min(STOP_SECONDS, settings.stop_timeout_seconds / 2)),
            )
            self._server = uvicorn.Server(config)
            self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, name="rest", daemon=True)
            self._supervisor = Supervisor(settings, log_to) if workers else None
            self._host, self.has_keys = host, False
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        try:
            migrate.upgrade(self._settings.database_url)
            self.has_keys = self._check_keys()
            self._start_server()
        except BaseException:
            self._stop_server()
            self._opened.close()
            raise
        if self._supervisor:
            self._supervisor.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        # The home is released last: until then workers write to it.
        with self._opened:
            # Both stop at the same time.
            self._server.should_exit = True
            if self._supervisor:
                self._supervisor.stop()
            self._stop_server()

    def wait(self) -> None:
        """Block until SIGINT or SIGTERM; only in the main thread, which may set signal handlers."""
        stopped = threading.Event()

        def stop(_number: int, _frame: FrameType | None) -> None:
            stopped.set()

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            while not stopped.wait(1.0) and self._thread.is_alive():
                pass
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _check_keys(self) -> bool:
        """Write the settings' key, and return whether there is any.

        Raises NoKeyError if there is none and other machines reach the address.
        """
        engine = make_engine(self._settings.database_url)
        try:
            with transaction(engine) as session:
                if key := parsed(self._settings.admin_key.get_secret_value()):
                    keys.ensure(session, key, "admin", "GLOSSATOR_ADMIN_KEY")
                has_keys = keys.any_exists(session)
        finally:
            engine.dispose()
        # A host name may resolve to another address.
        if not has_keys and not (is_loopback(self._host) and is_loopback(self._socket.getsockname()[0])):
            raise NoKeyError(
                f"The server does not listen on {self._host or 'every address'}.",
                why="It has no key: whoever reaches it could submit and cancel any job, spend any budget, and read what jobs may read.",
                cure="Make a key with `glossator keys create`, or use --host 127.0.0.1.",
            )
        return has_keys

    def _start_server(self) -> None:
        self._thread.start()
        deadline = time.monotonic() + START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise GlossatorError("The REST service did not start.", cure="The lines above say why.")
            time.sleep(0.01)

    def _stop_server(self) -> None:
        self._server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join(min(STOP_SECONDS * 2, self._settings.stop_timeout_seconds))


def end_process() -> None:
    """End this process even if threads still work on requests.

    Their clients are disconnected, and open transactions are rolled back. Otherwise Python waits for threads that read files or probe endpoints.
    Without such threads the process ends normally.
    """
    left = [thread for thread in threading.enumerate() if not thread.daemon and thread is not threading.main_thread()]
    if left:
        log.warning("the process ends while %d threads work on requests", len(left))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _bound(host: str, port: int) -> socket.socket:
    """Return a listening socket; raises AddressTakenError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, TypeError, ValueError) as error:
        raise AddressTakenError(
            f"Cannot listen on {host}:{port}.",
            why=getattr(error, "strerror", None) or str(error),
            cure="Stop what listens there, or take a free port with --port 0.",
        ) from error
