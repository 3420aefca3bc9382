"""Resolution of webhook URLs, so that users cannot reach the server's own network."""

import socket
from dataclasses import dataclass

import httpx

from interp.config.outgoing import Address, Link, OutgoingPolicy, address_of
from interp.domain.cleaning import one_line
from interp.domain.errors import WebhookRefusedError

LONGEST_URL = 200


@dataclass(frozen=True, slots=True)
class ResolvedUrl:
    """A URL with its host's name and current addresses."""

    url: httpx.URL
    name: str
    addresses: tuple[Address, ...]


def find(url: str, guard: OutgoingPolicy) -> ResolvedUrl:
    """Resolve the host; raises WebhookRefusedError, or OSError for a host without an address.

    The call blocks for as long as the resolver does. WebhookRefusedError is for URLs that are invalid or not listed,
    and for hosts with any forbidden address.
    """
    shown = one_line(url.partition("?")[0], LONGEST_URL)
    try:
        link, reach, parsed = Link.of(url), guard.reach(url), httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise WebhookRefusedError(
            f"{shown} is no URL that can be asked.", why=f"{one_line(str(error))}.", cure="Give one such as https://example.org/hook."
        ) from error
    if reach is None:
        raise WebhookRefusedError(
            f"{shown} is no receiver that this server tells.",
            why="Its settings list where webhooks may go.",
            cure="Have the operator add it to GLOSSATOR_WEBHOOK_ENDPOINTS.",
        )
    found = socket.getaddrinfo(link.host, link.port, type=socket.SOCK_STREAM)
    addresses = tuple(dict.fromkeys(address_of(sockaddr) for *_, sockaddr in found))
    if not all(map(reach.allows, addresses)):
        raise WebhookRefusedError(
            f"{link.host} is in a private network.",
            why=f"Its addresses: {', '.join(map(str, addresses[:4]))}.",
            cure="Name a receiver with a public address, or have the operator allow it: GLOSSATOR_ALLOWED_PRIVATE_NETWORKS names networks, "
            "GLOSSATOR_WEBHOOK_ENDPOINTS receivers, and GLOSSATOR_WEBHOOK_ALLOW_PRIVATE_NETWORKS=true allows all.",
        )
    return ResolvedUrl(parsed, link.host, addresses)
