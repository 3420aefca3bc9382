"""Find a client's address and scheme behind the proxies that the settings name.

Any client can send these headers. So they are read only from a trusted proxy, and from the right: each proxy appends the address that it was
connected from. The first address from the right that is no trusted proxy is the client's.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Self

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from interp.config.outgoing import Address, Network
from interp.config.settings import Settings

# Entries of the headers that are read, from the right.
MAX_HOPS = 16
SCHEMES = frozenset({"http", "https"})
UNKNOWN = "unknown"
# An address with a port or in brackets; a bare IPv6 address is neither.
WITH_PORT = re.compile(r"(\[(?P<inner>[0-9A-Fa-f:.]+)\]|(?P<outer>[0-9.]+))(:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Hop:
    """What a proxy says of one connection; None for what cannot be read."""

    address: Address | None
    scheme: str | None


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """The networks of proxies, and the header that they write."""

    networks: tuple[Network, ...]
    header: str

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(tuple(ip_network(network) for network in settings.trusted_proxies), settings.forwarded_header)

    def contain(self, address: Address) -> bool:
        return any(address in network for network in self.networks)

    def client(self, peer: str, headers: Headers) -> Hop:
        """Return the client's address and scheme as far as they are known from trusted proxies.

        An entry that cannot be read ends the search: the client is then the last proxy that is known.
        """
        found = Hop(parsed(peer), None)
        for hop in reversed(self._hops(headers)):
            if found.address is None or not self.contain(found.address):
                break
            # A missing address leaves the proxy's own, and nothing further left can be believed.
            found = Hop(hop.address or found.address, hop.scheme or found.scheme)
            if hop.address is None:
                break
        return found

    def _hops(self, headers: Headers) -> Sequence[Hop]:
        return _forwarded(headers) if self.header == "forwarded" else _x_forwarded(headers)


class ClientAddress:
    """Middleware that puts the client's own address and scheme into the request's scope."""

    def __init__(self, app: ASGIApp, proxies: TrustedProxies) -> None:
        self._app, self._proxies = app, proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope.get("client"):
            client = self._proxies.client(scope["client"][0], Headers(scope=scope))
            scope["client"] = (str(client.address) if client.address else UNKNOWN, scope["client"][1])
            scope["scheme"] = client.scheme or scope["scheme"]
        await self._app(scope, receive, send)


def address_of(scope: Scope) -> str:
    """Return the client's address as text, which `ClientAddress` has checked."""
    client = scope.get("client")
    return str(client[0]) if client else UNKNOWN


def parsed(text: str) -> Address | None:
    """Return an address with or without a port and brackets; None for any other text."""
    found = WITH_PORT.fullmatch(text.strip())
    text = (found["inner"] or found["outer"]) if found else text.strip()
    if "%" in text:
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _x_forwarded(headers: Headers) -> Sequence[Hop]:
    """Return the hops of X-Forwarded-For, each with its X-Forwarded-Proto.

    Most proxies write one scheme, whatever the number of addresses. It belongs to all of them.
    """
    addresses = _entries(headers, "x-forwarded-for")
    schemes = [_scheme(text) for text in _entries(headers, "x-forwarded-proto")] or [None]
    padded = [schemes[0]] * (len(addresses) - len(schemes)) + schemes
    return [Hop(parsed(text), scheme) for text, scheme in zip(addresses, padded[len(padded) - len(addresses) :], strict=True)]


def _forwarded(headers: Headers) -> Sequence[Hop]:
    """Return the hops of Forwarded (RFC 7239).

    Commas end an entry even between quotation marks: a client's open quotation mark must not swallow what the proxies append. No address has one.
    """
    return [_pairs(entry) for entry in _entries(headers, "forwarded")]


def _pairs(entry: str) -> Hop:
    pairs = {name.strip().lower(): value.strip().strip('"') for name, _, value in (pair.partition("=") for pair in entry.split(";"))}
    return Hop(parsed(pairs.get("for", "")), _scheme(pairs.get("proto", "")))


def _entries(headers: Headers, name: str) -> list[str]:
    """Return the last entries of a header, which may have been sent in several parts."""
    return ",".join(headers.getlist(name)).rsplit(",", MAX_HOPS)[-MAX_HOPS:] if name in headers else []


def _scheme(text: str) -> str | None:
    scheme = text.strip().lower()
    return scheme if scheme in SCHEMES else None
