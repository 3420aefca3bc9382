"""Which network addresses a URL leads to, and whether they are public: a URL from a user must not make the server ask its own network."""

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import httpx

from interp.errors import WebhookRefused

Address = IPv4Address | IPv6Address
NAT64 = IPv6Network("64:ff9b::/96")
PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a URL leads: its host's name, and every address that the name has now."""

    url: httpx.URL
    name: str
    addresses: tuple[Address, ...]


def find(url: str, allow_private: bool) -> Place:
    """Looks the host up. Blocks for as long as the resolver takes.

    Raises WebhookRefused for a URL that cannot be read and for a host with any address that is not public, and OSError where no address is found.
    """
    parsed, name, port = _read(url)
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    addresses = tuple(dict.fromkeys(ip_address(str(sockaddr[0]).partition("%")[0]) for *_, sockaddr in found))
    if not allow_private and not all(map(is_public, addresses)):
        raise WebhookRefused(
            f"{name} is in a private network.",
            why=f"Its addresses: {', '.join(map(str, addresses))}.",
            cure="Name a receiver with a public address, or set GLOSSATOR_WEBHOOK_PRIVATE=true on the server.",
        )
    return Place(parsed, name, addresses)


def is_public(address: Address) -> bool:
    """Whether the address is of the internet at large, looked at through every way to wrap an IPv4 address in an IPv6 one."""
    inner = _wrapped(address)
    return address.is_global and not address.is_multicast and (inner is None or is_public(inner))


def _wrapped(address: Address) -> IPv4Address | None:
    if isinstance(address, IPv4Address):
        return None
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _read(url: str) -> tuple[httpx.URL, str, int]:
    try:
        parsed = httpx.URL(url)
        return parsed, parsed.raw_host.decode("ascii"), parsed.port or PORTS[parsed.scheme]
    except (httpx.InvalidURL, KeyError, UnicodeError) as error:
        raise WebhookRefused(f"{url} is no URL that can be asked.", why=str(error), cure="Give one such as https://example.org/hook.") from error
