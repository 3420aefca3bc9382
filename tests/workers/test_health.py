"""/healthz of a worker: 200 while it moves, 503 when it is stuck, and nothing where nobody asked for it."""

import socket
import struct
import time
from pathlib import Path

import httpx
import pytest

from interp.config.settings import Settings
from workers.health import HealthServer


class Pulse:
    """Seconds since the last beat."""

    def __init__(self) -> None:
        self.beat()

    def beat(self) -> None:
        self.beaten = time.monotonic()

    def __call__(self) -> float:
        return time.monotonic() - self.beaten


def until_stuck(port: int) -> httpx.Response:
    deadline = time.monotonic() + 120
    while (answer := httpx.get(f"http://127.0.0.1:{port}/healthz")).status_code == 200:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return answer


def alive(pulse: Pulse, port: int, method: str) -> httpx.Response:
    """What a probe hears after a beat; asked again where a busy machine took longer than a lease to ask."""
    deadline = time.monotonic() + 120
    while True:
        pulse.beat()
        answer = httpx.request(method, f"http://127.0.0.1:{port}/healthz")
        if answer.status_code == 200:
            return answer
        assert time.monotonic() < deadline


def test_alive_while_the_pulse_beats_and_stuck_when_it_stops(tmp_path: Path) -> None:
    pulse = Pulse()
    health = HealthServer(pulse, Settings(home=tmp_path, health_port=0, lease_seconds=0.4, heartbeat_interval_seconds=0.1), "llm-0")
    try:
        assert health.port
        stuck = until_stuck(health.port)
        assert stuck.status_code == 503
        assert stuck.json()["status"] == "stuck"
        assert alive(pulse, health.port, "GET").json()["worker"] == "llm-0"
        assert httpx.get(f"http://127.0.0.1:{health.port}/").status_code == 404
        assert alive(pulse, health.port, "HEAD").content == b""
    finally:
        health.close()


def test_a_probe_that_hangs_up_leaves_no_traceback(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    health = HealthServer(Pulse(), Settings(home=tmp_path, health_port=0), "llm-0")
    try:
        assert health.port
        with socket.create_connection(("127.0.0.1", health.port)) as probe:
            # Closing with this set resets the connection: what the answer is written to is gone.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert httpx.get(f"http://127.0.0.1:{health.port}/healthz").status_code == 200
    finally:
        health.close()
    assert "Traceback" not in capfd.readouterr().err


def test_an_error_of_its_own_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    health = HealthServer(Pulse(), Settings(home=tmp_path, health_port=0), "llm-0")
    monkeypatch.setattr(health, "answer", lambda: 1 / 0)
    try:
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{health.port}/healthz")
    finally:
        health.close()
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_a_port_that_is_taken_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = HealthServer(Pulse(), Settings(home=tmp_path, health_port=0), "a")
    second = HealthServer(Pulse(), Settings(home=tmp_path, health_port=first.port), "b")
    assert second.port is None
    assert "cannot be listened on" in caplog.text
    second.close()
    first.close()


def test_nothing_listens_unless_it_is_asked_to(tmp_path: Path) -> None:
    assert HealthServer(Pulse(), Settings(home=tmp_path), "a").port is None
