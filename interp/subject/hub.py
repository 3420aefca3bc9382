"""Connections to the model hub: the operator's endpoint (`HF_ENDPOINT`) and public addresses only."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from urllib.request import getproxies

import httpx2

from interp.config.outgoing import Link, OutgoingPolicy, Reach, address_of

# Configs and tokenizers are read before a job is stored. Weights have no cap: a worker fetches them.
SMALL_FILE_BYTES = 512 * 2**20
IDLE_SECONDS = 60.0

_most: ContextVar[int | None] = ContextVar("most", default=None)


@contextmanager
def small_files() -> Iterator[None]:
    """Limit the size of files to those read before a subject's weights."""
    token = _most.set(SMALL_FILE_BYTES)
    try:
        yield
    finally:
        _most.reset(token)


@cache
def guard_hub() -> None:
    """Make huggingface_hub and transformers use `HubTransport`, unless the environment names a proxy."""
    from huggingface_hub import constants, set_client_factory
    from huggingface_hub.utils._http import hf_request_event_hook

    if {"http", "https", "all"} & getproxies().keys():
        return
    if constants.ENDPOINT != constants._HF_DEFAULT_ENDPOINT:
        constants.HF_HUB_DISABLE_XET = True  # another client, which connects to any host that a mirror names
    transport = HubTransport(OutgoingPolicy.of([constants.ENDPOINT]), httpx2.HTTPTransport())

    def client() -> httpx2.Client:
        hooks = {"request": [hf_request_event_hook]}
        return httpx2.Client(transport=transport, event_hooks=hooks, follow_redirects=True, timeout=IDLE_SECONDS, trust_env=False)

    set_client_factory(client)


class HubTransport(httpx2.BaseTransport):
    """Transport that resolves a host once and connects to the checked address.

    A hub redirects to the stores of its files; each redirect is checked like the first request. Only a host that `guard` names may have a private
    address, or be reached without TLS.
    """

    def __init__(self, guard: OutgoingPolicy, inner: httpx2.BaseTransport) -> None:
        self._guard, self._inner = guard, inner

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        link, reach = self._reach(request)
        fault = httpx2.ConnectError(f"{link.host} has no address that may be asked", request=request)
        for address in self._addresses(link, reach, request):
            try:
                response = self._inner.handle_request(_to(request, link, address))
            except httpx2.ConnectError as error:
                fault = error
                continue
            most = _most.get()
            if most is not None:
                response.stream = Capped(response.stream, most)  # type: ignore[arg-type]  # a synchronous transport has synchronous streams
            return response
        raise fault

    def close(self) -> None:
        """Do nothing, since all clients of the process share the connections."""

    def _reach(self, request: httpx2.Request) -> tuple[Link, Reach]:
        try:
            link = Link.of(str(request.url))
        except ValueError as error:
            raise httpx2.UnsupportedProtocol(f"the hub leads to a URL that cannot be asked: {error}", request=request) from None
        is_named = any((link.scheme, link.host, link.port) == (own.scheme, own.host, own.port) for own in self._guard.listed)
        if not is_named and link.scheme != "https":
            raise httpx2.UnsupportedProtocol(f"the hub leads to {link.host} without TLS", request=request)
        return link, Reach(link.host, is_named, self._guard.networks)

    def _addresses(self, link: Link, reach: Reach, request: httpx2.Request) -> list[str]:
        try:
            found = socket.getaddrinfo(link.host, link.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpx2.ConnectError(str(error), request=request) from error
        return list(dict.fromkeys(str(address) for *_, sockaddr in found if reach.allows(address := address_of(sockaddr))))


class Capped(httpx2.SyncByteStream):
    """A body that raises an error once it is larger than allowed."""

    def __init__(self, inner: httpx2.SyncByteStream, most: int) -> None:
        self._inner, self._most = inner, most

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for part in self._inner:
            size += len(part)
            if size > self._most:
                raise httpx2.DecodingError(f"the hub's file is larger than {self._most:,} bytes")
            yield part

    def close(self) -> None:
        self._inner.close()


def _to(request: httpx2.Request, link: Link, address: str) -> httpx2.Request:
    """Return the request to an address, with the name in `Host` and for TLS."""
    extensions = dict(request.extensions) | {"sni_hostname": link.host}
    return httpx2.Request(request.method, request.url.copy_with(host=address), headers=request.headers, stream=request.stream, extensions=extensions)
