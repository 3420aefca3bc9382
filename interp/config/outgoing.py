"""Policy of outgoing connections: permitted URLs and network addresses, without DNS queries."""

import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any
from urllib.parse import unquote, urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

PORTS = {"http": 80, "https": 443}
EVERYWHERE = ("0.0.0.0/0", "::/0")
NAT64 = IPv6Network("64:ff9b::/96")
NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")
NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
# Ends of names that are not in the public DNS (RFC 6761, RFC 6762, RFC 8375, ICANN's .internal; Docker's and Kubernetes' own).
LOCAL_ENDS = frozenset({"local", "localdomain", "internal", "intranet", "lan", "home", "corp", "private", "svc", "test", "home.arpa"})
# Private addresses (not link-local) of clouds' credentials, which no name may imply.
METADATA = frozenset({IPv6Address("fd00:ec2::254"), IPv4Address("100.100.100.200")})


@dataclass(frozen=True, slots=True)
class Link:
    """A URL as connections use it: host in lower case, path without a final slash."""

    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def of(cls, url: str) -> "Link":
        """Parse a URL; raises ValueError for one that parsers might read differently."""
        if not (url.isascii() and url.isprintable()) or " " in url or "\\" in url:
            raise ValueError("it holds characters that have to be encoded: write another alphabet's host name as xn--...")
        parts = urlsplit(url)
        if parts.scheme not in PORTS:
            raise ValueError("it begins with neither http:// nor https://")
        if parts.port == 0:
            raise ValueError("there is no port 0")
        path = parts.path.rstrip("/")
        if any(step in (".", "..") for step in unquote(path).replace("\\", "/").split("/")):
            raise ValueError("its path goes up")
        return cls(parts.scheme, _host(parts.hostname or ""), parts.port or PORTS[parts.scheme], path)

    def covers(self, other: "Link") -> bool:
        """Return whether the other URL is this one or below it."""
        is_there = (self.scheme, self.host, self.port) == (other.scheme, other.host, other.port)
        return is_there and f"{other.path}/".startswith(f"{self.path}/")


@dataclass(frozen=True, slots=True)
class Reach:
    """Allowed addresses of a host: public ones, `networks`, and those a named host implies."""

    host: str
    is_named: bool
    networks: tuple[Network, ...] = ()

    def allows(self, address: Address) -> bool:
        inner = _wrapped(address) or address
        return is_public(address) or any(inner in network for network in self.networks) or (self.is_named and self._means(inner))

    def _means(self, address: Address) -> bool:
        """Return whether a literal, `localhost`, or a local name's ordinary addresses include the address."""
        if literal := _literal(self.host):
            return address == (_wrapped(literal) or literal)
        if self.host == "localhost" or self.host.endswith(".localhost"):
            return address.is_loopback
        is_odd = address.is_link_local or address.is_multicast or address.is_unspecified or address.is_reserved or address in METADATA
        return is_local_name(self.host) and (address.is_loopback or not is_odd)


@dataclass(frozen=True, slots=True)
class OutgoingPolicy:
    """Permitted URLs: listed ones, or any with `takes_any`; private addresses must be named."""

    listed: tuple[Link, ...]
    networks: tuple[Network, ...] = ()
    takes_any: bool = False

    @classmethod
    def of(cls, urls: Iterable[str], networks: Iterable[str] = (), takes_any: bool = False) -> "OutgoingPolicy":
        """Return the policy of URLs and networks as text; invalid URLs allow nothing."""
        return cls(tuple(link for url in urls if (link := _read(url))), tuple(ip_network(network) for network in networks), takes_any)

    def reach(self, url: str) -> Reach | None:
        """Return the URL's allowed addresses, or None; raises ValueError for an invalid URL."""
        link = Link.of(url)
        is_named = any(entry.covers(link) for entry in self.listed)
        return Reach(link.host, is_named, self.networks) if is_named or self.takes_any else None


def is_public(address: Address) -> bool:
    """Return whether an address, and any IPv4 address wrapped in it, is public."""
    inner = _wrapped(address)
    return address.is_global and not address.is_multicast and (inner is None or is_public(inner))


def is_local_name(host: str) -> bool:
    """Return whether a name is a single label or has an ending of local networks."""
    labels = host.split(".")
    return len(labels) == 1 or labels[-1] in LOCAL_ENDS or ".".join(labels[-2:]) in LOCAL_ENDS


def address_of(sockaddr: tuple[Any, ...]) -> Address:
    """Return the address in an entry of `getaddrinfo`, without a link-local zone."""
    return ip_address(str(sockaddr[0]).partition("%")[0])


def _host(name: str) -> str:
    name = name.removesuffix(".")
    literal = _literal(name)
    if literal is not None:
        return str(literal)
    if len(name) > 253 or not NAME.fullmatch(name):
        raise ValueError("it has no host name that can be looked up")
    if not NUMBER.fullmatch(name.rpartition(".")[2]):
        return name
    try:
        return str(IPv4Address(socket.inet_aton(name)))  # numbers as resolvers read them: 127.1, 0x7f000001, 2130706433
    except OSError:
        raise ValueError("its host is a number that is no IP address") from None


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _read(url: str) -> Link | None:
    try:
        return Link.of(url)
    except ValueError:
        return None


def _wrapped(address: Address) -> IPv4Address | None:
    if isinstance(address, IPv4Address):
        return None
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
