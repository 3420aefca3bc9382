"""A hub, or a mirror of it, leads its clients neither into the server's network, nor past TLS, nor to files without end."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from interp.config.outgoing import OutgoingPolicy
from interp.subject import hub
from tests.security.hostile import Hostile, hostile, says, streams

MIB = 2**20
PUBLIC = "93.184.215.14"


def client(guard: OutgoingPolicy, inner: httpx2.BaseTransport | None = None) -> httpx2.Client:
    transport = hub.HubTransport(guard, inner or httpx2.HTTPTransport())
    return httpx2.Client(transport=transport, follow_redirects=True, trust_env=False, timeout=10.0)


@pytest.fixture
def seen() -> list[httpx2.Request]:
    return []


@pytest.fixture
def inner(seen: list[httpx2.Request]) -> httpx2.BaseTransport:
    """What would connect, and only says to what."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200, content=b"{}")

    return httpx2.MockTransport(answer)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Sets what look-ups of names give, one after the other."""

    def become(*addresses: str) -> None:
        left = list(addresses)

        def look(host: str, port: int, **_: Any) -> list[Any]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (left.pop(0), port))]

        monkeypatch.setattr(hub.socket, "getaddrinfo", look)

    yield become


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.8", "169.254.169.254", "100.64.0.1", "::1", "::ffff:10.0.0.8"])
def test_a_hub_at_a_private_address_is_not_asked(
    inner: httpx2.BaseTransport, seen: list[httpx2.Request], names: Callable[..., None], address: str
) -> None:
    names(address)
    with pytest.raises(httpx2.ConnectError, match="no address that may be asked"):
        client(OutgoingPolicy.of(["https://huggingface.co"]), inner).get("https://huggingface.co/org/model/resolve/main/config.json")
    assert seen == []


def test_the_address_that_was_checked_is_the_one_that_is_asked(
    inner: httpx2.BaseTransport, seen: list[httpx2.Request], names: Callable[..., None]
) -> None:
    names(PUBLIC, "127.0.0.1")
    client(OutgoingPolicy.of(["https://huggingface.co"]), inner).get("https://huggingface.co/x")
    [asked] = seen
    assert (asked.url.host, asked.headers["host"], asked.extensions["sni_hostname"]) == (PUBLIC, "huggingface.co", "huggingface.co")


@pytest.mark.parametrize("place", ["http://93.184.215.14/x", "http://huggingface.co/x", "https://user@[::1/x"])
def test_a_redirect_past_tls_is_not_followed(names: Callable[..., None], place: str) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        assert request.url.scheme == "https"
        return httpx2.Response(302, headers={"location": place})

    names(PUBLIC, PUBLIC)
    with pytest.raises(httpx2.HTTPError):
        client(OutgoingPolicy.of(["https://huggingface.co"]), httpx2.MockTransport(answer)).get("https://huggingface.co/x")


def test_the_token_stays_with_the_hub(names: Callable[..., None]) -> None:
    seen: dict[str, str | None] = {}

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen[request.headers["host"]] = request.headers.get("authorization")
        return httpx2.Response(302, headers={"location": "https://store.example/blob"}) if len(seen) == 1 else httpx2.Response(200)

    names(PUBLIC, PUBLIC)
    asking = client(OutgoingPolicy.of(["https://huggingface.co"]), httpx2.MockTransport(answer))
    asking.get("https://huggingface.co/org/model/resolve/main/x", headers={"authorization": "Bearer hf_secret"})
    assert seen == {"huggingface.co": "Bearer hf_secret", "store.example": None}


def test_a_mirror_cannot_lead_into_the_servers_network() -> None:
    async def work() -> None:
        async with hostile(says(b"secrets")) as other:
            for place in (f"http://127.0.0.1:{other.port}/", f"https://127.0.0.1:{other.port}/", f"http://localhost:{other.port}/"):
                async with hostile(says(b"", "302 Found", location=place)) as mirror:
                    asking = client(OutgoingPolicy.of([f"http://127.0.0.1:{mirror.port}"]))
                    with pytest.raises(httpx2.HTTPError):
                        await asyncio.to_thread(asking.get, f"http://127.0.0.1:{mirror.port}/x")
                    assert len(mirror.heads) == 1
            assert other.heads == []

    asyncio.run(work())


def test_a_file_that_is_read_before_a_job_is_stored_has_a_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "SMALL_FILE_BYTES", MIB)

    def read(at: Hostile) -> int:
        size = 0
        with hub.small_files(), client(OutgoingPolicy.of([at.base_url])).stream("GET", at.base_url) as response:
            for part in response.iter_raw():
                size += len(part)
        return size

    async def work() -> None:
        async with hostile(streams(b" " * 65536)) as at:
            with pytest.raises(httpx2.DecodingError, match="larger than"):
                await asyncio.to_thread(read, at)

    asyncio.run(work())


def test_the_libraries_ask_a_hub_over_these_connections(tmp_path: Path) -> None:
    """In a process of its own: what is set up holds for all of it."""
    program = """
from huggingface_hub import constants
from huggingface_hub.utils import get_session
from interp.subject import hub
hub.guard_hub()
print(type(get_session()._transport).__name__, constants.HF_HUB_DISABLE_XET)
"""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=kept | {"HF_ENDPOINT": "https://mirror.example", "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == ["HubTransport", "True"], done.stderr
