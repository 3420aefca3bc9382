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
from interp.domain.errors import GlossatorError
from interp.store import migrate
from workers.supervisor import Supervisor

log = logging.getLogger(__name__)

START_SECONDS = 30.0
STOP_SECONDS = 5


class AddressTakenError(GlossatorError, code="address-taken", title="The address cannot be listened on", exit_status=2):
    """The service cannot listen on its address."""


class LoginMissingError(GlossatorError, code="login-missing", title="Anyone who reaches the address could do anything", exit_status=2):
    """The service has no accounts, and its address can be reached from other machines."""


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
            self._socket = opened.enter_context(_listen(host, port, settings.i_know_there_is_no_login))
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
                timeout_keep_alive=settings.keep_alive_timeout_seconds,  # type: ignore[arg-type]  # The event loop takes any number.
                timeout_graceful_shutdown=math.ceil(min(STOP_SECONDS, settings.stop_timeout_seconds / 2)),
            )
            self._server = uvicorn.Server(config)
            self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, name="rest", daemon=True)
            self._supervisor = Supervisor(settings, log_to) if workers else None
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        try:
            migrate.upgrade(self._settings.database_url)
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


def _listen(host: str, port: int, is_open: bool) -> socket.socket:
    """Return a listening socket; raises AddressTakenError, LoginMissingError (public and not `is_open`)."""
    if not is_open and not is_loopback(host):
        raise _login_missing(host)
    listening = _bound(host, port)
    # A host name may resolve to another address.
    if not is_open and not is_loopback(listening.getsockname()[0]):
        listening.close()
        raise _login_missing(host)
    return listening


def _login_missing(host: str) -> LoginMissingError:
    return LoginMissingError(
        f"The server does not listen on {host or 'every address'}.",
        why="It has no login: whoever reaches it can submit and cancel any job, spend any budget, and read what jobs may read.",
        cure="Use --host 127.0.0.1, or put what checks accounts in front and give --i-know-there-is-no-login "
        "(GLOSSATOR_I_KNOW_THERE_IS_NO_LOGIN=true).",
    )


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, TypeError, ValueError) as error:
        raise AddressTakenError(
            f"Cannot listen on {host}:{port}.",
            why=getattr(error, "strerror", None) or str(error),
            cure="Stop what listens there, or take a free port with --port 0.",
        ) from error
