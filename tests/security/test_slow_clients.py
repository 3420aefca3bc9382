"""A client that draws things out, or many of them, hold up nobody else; SIGTERM ends the server with requests in flight."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from api.http.connection_limits import MAX_HEAD_BYTES, most_connections
from api.server import Service
from interp.config.settings import Settings
from interp.store.db.engine import make_engine
from tests import databases
from tests.api import synthetic

GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
ESTIMATE = POST.replace(b"/v1/jobs", b"/v1/jobs/estimate")
PATIENCE = 60.0
Connect = Callable[[], socket.socket]


def quick(home: Path) -> Settings:
    return Settings(
        home=home / "home",
        database_url=f"sqlite:///{home / 'book.db'}",
        broker_url=f"filesystem://{home / 'broker'}",
        max_connections=8,
        request_head_timeout_seconds=0.5,
        request_body_timeout_seconds=0.5,
        response_send_timeout_seconds=0.5,
        keep_alive_timeout_seconds=0.5,
    )


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = quick(tmp_path_factory.mktemp("slow"))
    databases.upgrade(settings.database_url)
    engine = make_engine(settings.database_url)
    synthetic.fill(engine)
    engine.dispose()
    with Service(settings, "127.0.0.1", 0, workers=False) as found:
        yield found


@pytest.fixture
def connect(service: Service) -> Iterator[Connect]:
    """Opens a connection to the service; all of them are closed in the end."""
    port = int(service.url.rpartition(":")[2])
    with ExitStack() as stack:

        def opened() -> socket.socket:
            made = stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE))
            made.settimeout(PATIENCE)
            return made

        yield opened


def to_the_end(connection: socket.socket) -> bytes:
    """Everything that comes until the server closes the connection."""
    found = b""
    try:
        while part := connection.recv(65536):
            found += part
    except ConnectionResetError:
        pass
    return found


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


def drip(connection: socket.socket, text: bytes, pause: float = 0.05) -> bytes:
    """Sends a byte now and then, until the server has had enough."""
    for byte in range(len(text)):
        try:
            connection.settimeout(pause)
            if connection.recv(1, socket.MSG_PEEK) is not None:
                break
        except TimeoutError:
            pass
        except ConnectionResetError:
            return b""
        try:
            connection.sendall(text[byte : byte + 1])
        except (BrokenPipeError, ConnectionResetError):
            break
    connection.settimeout(PATIENCE)
    return to_the_end(connection)


def answers(service: Service) -> bool:
    """Whether anybody else is answered. A place may have become free a moment ago."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{service.url}/healthz", timeout=PATIENCE).status_code == 200:
                return True
        except httpx.TransportError:
            pass
    return False


def test_a_connection_without_a_request_is_closed(connect: Connect) -> None:
    assert to_the_end(connect()) == b""


@pytest.mark.parametrize("begun", [b"G", GET, GET + b"X-A: b"])
def test_a_head_that_does_not_end_is_given_up(connect: Connect, begun: bytes) -> None:
    connection = connect()
    connection.sendall(begun)
    answer = to_the_end(connection)
    assert status_of(answer) == 408
    assert b"GLOSSATOR_REQUEST_HEAD_TIMEOUT_SECONDS" in answer
    assert b"nosniff" in answer


def test_a_head_that_drips_is_given_up(connect: Connect) -> None:
    assert status_of(drip(connect(), GET + b"X-A: " + b"b" * 1000)) in (408, 0)


def test_a_second_head_is_awaited_no_longer(connect: Connect) -> None:
    connection = connect()
    connection.sendall(GET + b"\r\n")
    assert connection.recv(12) == b"HTTP/1.1 200"
    assert b"X-A" not in drip(connection, GET + b"X-A: " + b"b" * 1000)


def test_a_head_without_measure_is_refused(connect: Connect) -> None:
    connection = connect()
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        connection.sendall(GET)
        for number in range(MAX_HEAD_BYTES):
            connection.sendall(b"X-%d: " % number + b"a" * 1000 + b"\r\n")


@pytest.mark.parametrize("length", [b"Content-Length: 1000\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_a_body_that_does_not_come_is_given_up(connect: Connect, length: bytes) -> None:
    connection = connect()
    connection.sendall(POST + length + b"\r\n")
    answer = to_the_end(connection)
    assert status_of(answer) == 408
    assert b"application/problem+json" in answer


def test_a_body_that_drips_is_given_up(connect: Connect) -> None:
    connection = connect()
    connection.sendall(POST + b"Content-Length: 1000\r\n\r\n")
    assert status_of(drip(connection, b"[" + b"1," * 499)) == 408


def test_an_answer_that_nobody_takes_is_dropped(connect: Connect, service: Service) -> None:
    """The client asks for much, again and again, and reads nothing of it."""
    connection = connect()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    ask = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        while True:
            connection.sendall(ask)
    assert answers(service)


def test_connections_are_bounded_and_the_next_is_told(connect: Connect, service: Service) -> None:
    """Connections that stay are those in the middle of a request: here a body that is awaited."""
    held = [connect() for _ in range(8)]
    for connection in held:
        connection.sendall(POST + b"Content-Length: 10\r\n\r\n")
    beyond = to_the_end(connect())
    assert status_of(beyond) == 503
    assert b"too-many-connections" in beyond
    assert {status_of(to_the_end(connection)) for connection in held} == {408}
    assert answers(service)


@pytest.mark.parametrize(
    "said",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET http://[::1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused(connect: Connect, service: Service, said: bytes) -> None:
    connection = connect()
    connection.sendall(said)
    assert status_of(to_the_end(connection)) < 500
    assert answers(service)


def test_as_many_connections_as_files_allow() -> None:
    assert 1 <= most_connections(Settings(max_connections=100_000)) <= 100_000


PROGRAM = """
import sys, time
from api.jobs import admission
from api.cli import main
admission.check_apart = lambda *_: time.sleep(600)
sys.argv = ["glossator", "serve", "--port", "0", *sys.argv[1:]]
main()
"""


def test_sigterm_ends_the_server_with_requests_in_flight(tmp_path: Path) -> None:
    """Streams, bodies that are awaited, and requests whose work would take ten minutes more in threads of their own."""
    settings = quick(tmp_path).model_copy(update={"stop_timeout_seconds": 10.0, "request_body_timeout_seconds": 60.0, "max_connections": 100})
    environment = os.environ | settings.environment()
    with subprocess.Popen([sys.executable, "-c", PROGRAM, "--no-workers"], env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline().split("http://127.0.0.1:")[1].split()[0])
            with ExitStack() as stack:
                body = b'{"subject":{"model":"m"},"dictionary":{"source":"d"},"corpus":{"path":"c"}}'
                for number in range(30):
                    connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE))
                    connection.sendall(ESTIMATE + b"Content-Length: %d\r\n\r\n" % len(body) + (body if number % 2 else body[:5]))
                # The server has read what came before this.
                assert httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE).status_code == 200
                began = time.monotonic()
                process.send_signal(signal.SIGTERM)
                status = process.wait(PATIENCE)
                assert status == 0
                assert time.monotonic() - began <= settings.stop_timeout_seconds
        finally:
            process.kill()
