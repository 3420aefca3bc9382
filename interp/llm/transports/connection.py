"""Connections to one endpoint: to allowed addresses alone, without redirects, with caps on a reply's size and time."""

import asyncio
import socket
import zlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx2
from aiohttp.abc import AbstractResolver, ResolveResult

from interp.config.outgoing import Reach

CONNECTIONS = 8192  # aiohttp's own limit is 100; what is in flight is the pacer's business
KEEPALIVE_SECONDS = 4.0  # under the 5 s after which many servers close an idle connection: a request into a closing one is lost
CONNECT_SECONDS = 10.0
ERROR_BYTES = 64 * 1024  # of a failed request's body; what comes after it is not read
STEP_BYTES = 256 * 1024  # decoded at once, between two looks at the cap and at other calls
LINES_AT_ONCE = 200
ENCODING = "gzip"  # the one that is asked for, since its decoder can be told where to stop


class AddressRefusedError(OSError):
    """A host has no address that its reach allows."""


class BodyTooLargeError(Exception):
    """A reply went past its cap, on the wire or decoded."""


class EncodingUnknownError(Exception):
    """A reply came in a coding that was not asked for."""


@dataclass(frozen=True, slots=True)
class Caps:
    """What one reply may take: `size` in bytes, on the wire and decoded alike; seconds until its `first` byte and in `total`."""

    size: int
    total: float
    first: float | None = None


@dataclass(frozen=True, slots=True)
class Received:
    """A response with its whole body, decoded. `headers` as they came."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes


class GuardedResolver(AbstractResolver):
    """Resolver that gives the allowed addresses of one host alone. The connection goes to these very addresses: nobody looks the name up again."""

    def __init__(self, reach: Reach, inner: AbstractResolver, proxy_host: str | None) -> None:
        self._reach, self._inner, self._proxy_host = reach, inner, proxy_host

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        """Raises AddressRefused where no address is allowed, and OSError where there is none."""
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
    """Connections to the host of one base URL. Used from one event loop; opened by the first request.

    A proxy of the environment (`HTTPS_PROXY`, `NO_PROXY`) is the operator's: it looks names up itself.
    """

    def __init__(self, base_url: str, reach: Reach, resolver: AbstractResolver | None = None) -> None:
        self._base_url, self._reach, self._resolver = base_url, reach, resolver
        self._proxy = _proxy_of(base_url)
        self._session: aiohttp.ClientSession | None = None
        self._limits: dict[float, aiohttp.ClientTimeout] = {}

    async def send(self, method: str, url: str, headers: Mapping[str, str], data: Any, caps: Caps) -> Received:
        """One request and its whole reply. Raises TimeoutError, TooLarge, EncodingUnknown, and what aiohttp and sockets raise."""
        async with asyncio.timeout(caps.total), self._asked(method, url, headers, data, caps) as response:
            if 200 <= response.status < 300:
                return Received(response.status, response.raw_headers, b"".join([part async for part in _decoded(response, caps.size)]))
            return Received(response.status, response.raw_headers, await _beginning(response))

    async def each_line(self, url: str, headers: Mapping[str, str], caps: Caps, longest: int, take: Callable[[bytes], None]) -> Received | None:
        """Hands over the lines of a body while it comes, none over `longest` bytes; the response itself where it is a failure. Raises as `send`."""
        async with asyncio.timeout(caps.total), self._asked("GET", url, headers, None, caps) as response:
            if not 200 <= response.status < 300:
                return Received(response.status, response.raw_headers, await _beginning(response))
            number = 0
            async for line in _split(_decoded(response, caps.size), longest):
                take(line)
                number += 1
                if number % LINES_AT_ONCE == 0:
                    await asyncio.sleep(0)
            return None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    @asynccontextmanager
    async def _asked(self, method: str, url: str, headers: Mapping[str, str], data: Any, caps: Caps) -> AsyncIterator[aiohttp.ClientResponse]:
        """A response whose body is still to come. It is closed, with its connection, unless its body has been read to the end."""
        if not url.startswith(self._base_url):
            raise AddressRefusedError("the URL is not beneath the base URL")
        async with asyncio.timeout(caps.first):
            response = await self._opened().request(
                method, url, headers=headers, data=data, allow_redirects=False, timeout=self._limit(caps.total), proxy=self._proxy
            )
        try:
            yield response
        finally:
            response.close()  # gives a connection back whose reply is complete, and ends any other

    def _limit(self, total: float) -> aiohttp.ClientTimeout:
        seconds = min(CONNECT_SECONDS, total)
        if seconds not in self._limits:
            self._limits[seconds] = aiohttp.ClientTimeout(total=None, sock_connect=seconds)
        return self._limits[seconds]

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            proxy_host = urlsplit(self._proxy).hostname if self._proxy else None
            connector = aiohttp.TCPConnector(
                limit=CONNECTIONS,
                keepalive_timeout=KEEPALIVE_SECONDS,
                resolver=GuardedResolver(self._reach, self._resolver or aiohttp.ThreadedResolver(), proxy_host),
                ssl=_tls() if urlsplit(self._base_url).scheme == "https" or self._proxy else True,
            )
            # No cookies: nothing that an endpoint says in one reply goes into the next request.
            self._session = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, headers={"Accept-Encoding": ENCODING}
            )
        return self._session


@dataclass
class HttpTransport(httpx2.AsyncBaseTransport):
    """Transport of httpx2 over a `HttpConnection`, for what the SDK asks by itself; a reply may hold `size` bytes."""

    connection: HttpConnection
    size: int
    _hidden: frozenset[bytes] = field(default=frozenset({b"content-encoding", b"content-length", b"transfer-encoding"}))

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        limits = request.extensions.get("timeout") or {}
        headers = {name: value for name, value in request.headers.items() if name not in ("host", "accept-encoding", "transfer-encoding")}
        try:
            data: Any = request.content or None
        except httpx2.RequestNotRead:
            data = request.stream
        seconds = float(limits.get("read") or CONNECT_SECONDS)
        received = await self.connection.send(request.method, str(request.url), headers, data, Caps(self.size, seconds))
        kept = [(name, value) for name, value in received.headers if name.lower() not in self._hidden]
        return httpx2.Response(received.status, headers=kept, content=received.body, request=request)

    async def aclose(self) -> None:
        await self.connection.close()


async def _decoded(response: aiohttp.ClientResponse, size: int) -> AsyncIterator[bytes]:
    """The body's parts as they come. Raises TooLarge as soon as more than `size` bytes are there or announced."""
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
    """A decoder for a coding; None where there is none. Raises EncodingUnknown."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return None
    if name in (ENCODING, f"x-{ENCODING}"):
        return zlib.decompressobj(16 + zlib.MAX_WBITS)
    raise EncodingUnknownError(f"its coding {name[:40]!r} was not asked for")


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """The first bytes of a failed request's body: enough to say why, whatever else comes."""
    parts, size = [], 0
    try:
        async for part in _decoded(response, ERROR_BYTES):
            parts.append(part)
            size += len(part)
    except (BodyTooLargeError, EncodingUnknownError, zlib.error, aiohttp.ClientError):
        pass
    return b"".join(parts)[:ERROR_BYTES]


async def _split(parts: AsyncIterator[bytes], longest: int) -> AsyncIterator[bytes]:
    held, looked = bytearray(), 0
    async for part in parts:
        held += part
        while (end := held.find(b"\n", looked)) >= 0:
            if end > longest:
                raise _long(longest)
            yield bytes(held[:end])
            del held[: end + 1]
            looked = 0
        looked = len(held)
        if looked > longest:
            raise _long(longest)
    if held:
        yield bytes(held)


def _long(longest: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"a line holds more than {longest:,} bytes, the most that are read")


def _proxy_of(base_url: str) -> str | None:
    """The proxy that the environment names for a URL."""
    parts = urlsplit(base_url)
    named = getproxies()
    found = named.get(parts.scheme) or named.get("all")
    return None if not found or proxy_bypass(parts.netloc.rpartition("@")[2]) else found


@cache
def _tls() -> Any:
    """Certificates as the rest of Python's HTTP clients here take them: SSL_CERT_FILE where it is set, else certifi's."""
    return httpx2.create_ssl_context()
