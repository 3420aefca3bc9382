"""Whom a request is for, and which page sent it: what keeps other people's web pages from a server on this machine or network.

A page may give a name of its own the address of this machine (DNS rebinding) and then reads answers as its own: so requests must name a host that
this server goes by. A page may send requests that change something without being allowed to read the answer: browsers say so, and they are refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Self

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.problems import answer_to
from interp.config.settings import Settings, is_loopback
from interp.domain.cleaning import one_line
from interp.domain.errors import GlossatorError

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
# What a browser says of a request that the page's own server, or its user, asked for.
OWN_SITES = frozenset({"same-origin", "none"})
# Nothing of these answers is for another site's pages: not in a frame, nor as a script or image.
PROTECTION = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
LONGEST_SHOWN = 200


class HostRefusedError(GlossatorError):
    """The request names a host that this server does not go by: its address under another name, as an attacker's page would use it."""

    code, status, title = "host-refused", 421, "The request is for another host"


class CrossSiteRefusedError(GlossatorError):
    """A browser says that a page of another site sent this request."""

    code, status, title = "cross-site-refused", 403, "The request comes from another site"


@dataclass(frozen=True, slots=True)
class Hosts:
    """The hosts that a server goes by: those of this machine, the address that it listens on, and names of the settings.

    One that listens on all addresses cannot know its own: then any address will do, since no attacker's page can be called by one.
    """

    names: frozenset[str]
    endings: tuple[str, ...]
    takes_addresses: bool
    takes_any: bool

    @classmethod
    def of(cls, settings: Settings) -> Self:
        named = [name.lower().rstrip(".") for name in settings.allowed_hosts]
        return cls(
            names=frozenset({settings.host.lower(), "localhost", *named}),
            endings=tuple(name[1:] for name in named if name.startswith("*.")),
            takes_addresses=_is_every_address(settings.host),
            takes_any="*" in named,
        )

    def permit(self, header: str) -> bool:
        """Whether a Host header, with its port or without, is one of them."""
        name = host_of(header)
        if self.takes_any:
            return True
        if name is None:
            return False
        if name in self.names or is_loopback(name) or name.endswith(".localhost") or any(name.endswith(ending) for ending in self.endings):
            return True
        return self.takes_addresses and _is_address(name)


def host_of(header: str) -> str | None:
    """The host of a Host header in small letters, without port and brackets; None where it is none."""
    name, colon, port = header.rpartition(":") if not header.endswith("]") else (header, "", "")
    if not colon:
        name = header
    elif not (port.isascii() and port.isdigit()) or not name:
        return None
    if name.startswith("[") and name.endswith("]"):
        return name[1:-1].lower() if _is_address(name[1:-1]) and ":" in name else None
    if not name or any(not (letter.isascii() and (letter.isalnum() or letter in "-._")) for letter in name):
        return None
    return name.lower().rstrip(".")


class Origins:
    """Refuses requests for other hosts, and those of other sites' pages that would change something."""

    def __init__(self, app: ASGIApp, hosts: Hosts) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        error = self.refusal(scope)
        if error is not None:
            await answer_to(scope, error)(scope, receive, _protected(send))
            return
        await self._app(scope, receive, _protected(send))

    def refusal(self, scope: Scope) -> GlossatorError | None:
        """Why the request is not answered; None where it is."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        # Nothing but a program speaks HTTP/1.0 without a host: probes of load balancers do.
        is_named = bool(hosts) or scope["http_version"] != "1.0"
        if is_named and (len(hosts) != 1 or not self._hosts.permit(hosts[0])):
            return _wrong_host(hosts)
        if scope["method"] not in SAFE and not _is_own(headers, hosts):
            return _wrong_site(headers)
        return None


def _is_own(headers: Headers, hosts: Sequence[str]) -> bool:
    """Whether no browser says that another site's page sent the request. Programs say nothing."""
    sites = headers.getlist("sec-fetch-site")
    if sites:
        return len(sites) == 1 and sites[0] in OWN_SITES
    origins = headers.getlist("origin")
    if not origins:
        return True
    # A proxy may speak TLS for this server: the scheme says nothing.
    own = [f"{scheme}://{host}".lower() for scheme in ("http", "https") for host in hosts]
    return len(origins) == 1 and origins[0].lower() in own


def _wrong_host(hosts: Sequence[str]) -> HostRefusedError:
    given = one_line(", ".join(hosts), LONGEST_SHOWN)
    return HostRefusedError(
        f"The request is for the host {given!r}, which this server does not go by." if hosts else "The request names no host.",
        why="A page that gives its own name this server's address could else read what is here.",
        cure="Ask by the address that the server listens on, or add the name to GLOSSATOR_ALLOWED_HOSTS where the server runs.",
    )


def _wrong_site(headers: Headers) -> CrossSiteRefusedError:
    origin = one_line(headers.get("origin", ""), LONGEST_SHOWN)
    return CrossSiteRefusedError(
        f"A page of {origin} sent this request." if origin and origin != "null" else "A page of another site sent this request.",
        why="Pages of other sites may change nothing here.",
        cure="Send it from a program, or from a page of this server (/docs).",
    )


def _protected(send: Send) -> Send:
    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in PROTECTION.items():
                headers.setdefault(name, value)
        await send(message)

    return with_headers


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_every_address(host: str) -> bool:
    return host == "" or (_is_address(host) and ip_address(host).is_unspecified)
