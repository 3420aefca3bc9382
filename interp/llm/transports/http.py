"""Send HTTP to one endpoint's allowed addresses, without redirects, with size and time caps."""

import asyncio
import os
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import certifi
from aiohttp.abc import AbstractResolver, ResolveResult

from interp.config.outgoing import Reach

CONNECTIONS = 8192  # aiohttp's own limit is 100; the concurrency limiter decides what is in flight
KEEPALIVE_SECONDS = 4.0  # under the 5 s after which many servers close an idle connection: a request into a closing one is lost
CONNECT_SECONDS = 10.0
ERROR_BYTES = 64 * 1024  # of a failed request's body
STEP_BYTES = 256 * 1024  # decoded at once, between two checks of the cap
LINES_AT_ONCE = 200
ENCODING = "gzip"  # the only one requested, since its decoder can be limited
KEPT_HEADERS = (b"x-ratelimit-", b"retry-after", b"x-request-id", b"location")


class AddressRefusedError(OSError):
    """The error of a host without any allowed address."""


class BodyTooLargeError(Exception):
    """The error of a reply past its cap, on the wire or decoded."""


class EncodingUnknownError(Exception):
    """The error of a reply in a coding that was not requested."""


@dataclass(frozen=True, slots=True)
class Caps:
    """Limits of one reply.

    `size` in bytes, on the wire and decoded alike; seconds until its `first` byte and in `total`; bytes of a `line`.
    """

    size: int
    total: float
    first: float | None = None
    line: int = 0


@dataclass(frozen=True, slots=True)
class Response:
    """A response with its decoded body, and its relevant headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class GuardedResolver(AbstractResolver):
    """A resolver of one host to allowed addresses, which connections use without another lookup."""

    def __init__(self, reach: Reach, inner: AbstractResolver, proxy_host: str | None) -> None:
        self._reach, self._inner, self._proxy_host = reach, inner, proxy_host

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        """Raise AddressRefusedError where no address is allowed, and OSError where there is none."""
        found = await self._inner.resolve(host, port, family)
        if host == self._proxy_host:
            return found
        allowed = [each for each in found if self._allows(host, each["host"])]
        if not allowed:
            raise AddressRefusedError(f"{host} has only addresses that may not be asked: {', '.join(each['host'] for each in found[:4])}")
        return allowed

    def _allows(self, host: str, address: str) -> bool:
        return host.rstrip(".").lower() == self._reach.host and self._reach.allows(ip_address(address.partition("%")[0]))

    async def close(self) -> None:
        await self._inner.close()


class HttpConnection:
    """Connections to one base URL's host, for one event loop, opened on demand.

    A proxy of the environment (`HTTPS_PROXY`, `NO_PROXY`) belongs to the operator: it looks names up itself.
    """

    def __init__(self, base_url: str, reach: Reach, resolver: AbstractResolver | None = None) -> None:
        self._base_url, self._reach, self._resolver = base_url, reach, resolver
        self._proxy = _proxy_of(base_url)
        self._session: aiohttp.ClientSession | None = None

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], data: Any, caps: Caps, take_line: Callable[[bytes], None] | None = None
    ) -> Response:
        """Send one request and read its reply, or pass its lines to `take_line`.

        Raises TimeoutError, BodyTooLargeError, EncodingUnknownError, and what aiohttp and sockets raise.
        """
        async with asyncio.timeout(caps.total):
            response = await self._requested(method, url, headers, data, caps)
            try:
                body = b""
                if not 200 <= response.status < 300:
                    body = await _beginning(response)
                elif take_line is None:
                    body = b"".join([part async for part in _decoded(response, caps.size)])
                else:
                    await _hand_over_lines(_decoded(response, caps.size), caps.line, take_line)
            finally:
                response.close()  # its connection too, unless read to the end
        named = ((name.lower(), value) for name, value in response.raw_headers)
        kept = {name.decode("latin-1"): value.decode("latin-1") for name, value in named if name.startswith(KEPT_HEADERS)}
        return Response(response.status, kept, body)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _requested(self, method: str, url: str, headers: Mapping[str, str], data: Any, caps: Caps) -> aiohttp.ClientResponse:
        """Return a response before its body."""
        if not url.startswith(self._base_url):
            raise AddressRefusedError("the URL is not beneath the base URL")
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=min(CONNECT_SECONDS, caps.total))
        async with asyncio.timeout(caps.first):
            return await self._opened().request(method, url, headers=headers, data=data, allow_redirects=False, timeout=timeout, proxy=self._proxy)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            proxy_host = urlsplit(self._proxy).hostname if self._proxy else None
            connector = aiohttp.TCPConnector(
                limit=CONNECTIONS,
                keepalive_timeout=KEEPALIVE_SECONDS,
                resolver=GuardedResolver(self._reach, self._resolver or aiohttp.ThreadedResolver(), proxy_host),
                ssl=_tls() if urlsplit(self._base_url).scheme == "https" or self._proxy else True,
            )
            # No cookies: nothing of a reply goes into the next request.
            self._session = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, headers={"Accept-Encoding": ENCODING}
            )
        return self._session


async def _hand_over_lines(parts: AsyncIterator[bytes], max_bytes: int, take: Callable[[bytes], None]) -> None:
    number = 0
    async for line in _lines(parts, max_bytes):
        take(line)
        number += 1
        if number % LINES_AT_ONCE == 0:
            await asyncio.sleep(0)


async def _decoded(response: aiohttp.ClientResponse, size: int) -> AsyncIterator[bytes]:
    """Yield the body's parts; raises BodyTooLargeError once over `size` bytes come or are announced."""
    if (response.content_length or 0) > size:
        raise BodyTooLargeError(f"it announces {response.content_length:,} bytes, and {size:,} are the most that are read")
    decoder = _decoder(response.headers.get("Content-Encoding", ""))
    sent = got = 0
    async for part in response.content.iter_any():
        sent += len(part)
        if sent > size:
            raise BodyTooLargeError(f"more than {size:,} bytes came, the most that are read")
        if decoder is None:
            yield part
            continue
        while part:
            made = decoder.decompress(part, STEP_BYTES)
            part = decoder.unconsumed_tail
            got += len(made)
            if got > size:
                raise BodyTooLargeError(f"{sent:,} bytes hold more than {size:,}, the most that are read")
            yield made
            if part:
                await asyncio.sleep(0)
    if decoder is not None and not decoder.eof:
        raise EncodingUnknownError("its gzip coding breaks off")


def _decoder(encoding: str) -> Any:
    """Return a coding's decoder, None without a coding; raises EncodingUnknownError."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return None
    if name in (ENCODING, f"x-{ENCODING}"):
        return zlib.decompressobj(16 + zlib.MAX_WBITS)
    raise EncodingUnknownError(f"its coding {name[:40]!r} was not asked for")


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """Return the first bytes of a failed request's body, which say why."""
    parts, size = [], 0
    try:
        async for part in _decoded(response, ERROR_BYTES):
            parts.append(part)
            size += len(part)
    except (BodyTooLargeError, EncodingUnknownError, zlib.error, aiohttp.ClientError):
        pass
    return b"".join(parts)[:ERROR_BYTES]


async def _lines(parts: AsyncIterator[bytes], max_bytes: int) -> AsyncIterator[bytes]:
    held, searched = bytearray(), 0
    async for part in parts:
        held += part
        while (end := held.find(b"\n", searched)) >= 0 and end <= max_bytes:
            yield bytes(held[:end])
            del held[: end + 1]
            searched = 0
        searched = len(held)
        if max(end, searched) > max_bytes:
            raise BodyTooLargeError(f"a line holds more than {max_bytes:,} bytes, the most that are read")
    if held:
        yield bytes(held)


def _proxy_of(base_url: str) -> str | None:
    parts = urlsplit(base_url)
    named = getproxies()
    found = named.get(parts.scheme) or named.get("all")
    return None if not found or proxy_bypass(parts.netloc.rpartition("@")[2]) else found


@cache
def _tls() -> ssl.SSLContext:
    """Return a context with certificates of SSL_CERT_FILE or SSL_CERT_DIR, else certifi's."""
    is_set = os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")
    return ssl.create_default_context(cafile=None if is_set else certifi.where())
