"""Check the Host and Origin of requests against attacks from other sites' web pages.

DNS rebinding: a page may resolve its own name to the address of this server and read the answers. So requests must name a known host. Cross-site
requests: a page may send requests that change something without reading the answer. Browsers mark such requests, and they are refused, unless the
settings list the page's origin and the request has a key: a page of another site never has one that its user did not give it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Self

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.http.problems import answer_to
from interp.config.settings import Settings, is_loopback
from interp.domain.cleaning import one_line
from interp.domain.errors import GlossatorError

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
# Sec-Fetch-Site of a request by a page of this server, or by the user.
OWN_SITES = frozenset({"same-origin", "none"})
# Browsers never add these headers by themselves, as they do cookies.
KEY_HEADERS = ("authorization", "x-api-key")
WITH_KEY = "Send a key in the header `Authorization: Bearer ...`."
NOT_LISTED = "Send it from a program, or from a page of this server (/docs), or have GLOSSATOR_CORS_ORIGINS list the origin."
LONGEST_SHOWN = 200


class HostRefusedError(GlossatorError, code="host-refused", status=421, title="The request is for another host"):
    """The request names a host that does not belong to this server."""


class CrossSiteRefusedError(GlossatorError, code="cross-site-refused", status=403, title="The request comes from another site"):
    """The browser reports that a page of another site sent this request."""


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """The hosts that requests may name: this machine, the listening address, and configured names.

    A server that listens on all addresses does not know its own. Then any address is allowed, since DNS rebinding needs a name.
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
        """Return whether the host of a Host header, with or without a port, is allowed."""
        name = host_of(header)
        if self.takes_any:
            return True
        if name is None:
            return False
        if name in self.names or is_loopback(name) or name.endswith(".localhost") or any(name.endswith(ending) for ending in self.endings):
            return True
        return self.takes_addresses and _is_address(name)


def host_of(header: str) -> str | None:
    """Return a Host header's host in lower case without port and brackets; None if invalid."""
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


class OriginCheck:
    """Middleware that refuses requests for other hosts, and cross-site requests that change something."""

    def __init__(self, app: ASGIApp, hosts: AllowedHosts, origins: Collection[str] = ()) -> None:
        self._app, self._hosts, self._origins = app, hosts, origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        error = self.refusal(scope)
        if error is not None:
            await answer_to(scope, error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def refusal(self, scope: Scope) -> GlossatorError | None:
        """Return the error that refuses the request; None if it is allowed."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        # HTTP/1.0 without a host is sent by programs alone, such as probes of load balancers.
        is_named = bool(hosts) or scope["http_version"] != "1.0"
        if is_named and (len(hosts) != 1 or not self._hosts.permit(hosts[0])):
            return _wrong_host(hosts)
        if scope["method"] in SAFE or _is_own(headers, hosts):
            return None
        is_listed = self._is_listed(headers)
        return None if is_listed and any(name in headers for name in KEY_HEADERS) else _wrong_site(headers, is_listed)

    def _is_listed(self, headers: Headers) -> bool:
        origins = headers.getlist("origin")
        return "*" in self._origins or (len(origins) == 1 and origins[0] in self._origins)


def _is_own(headers: Headers, hosts: Sequence[str]) -> bool:
    """Return whether the request is not cross-site; programs send neither header."""
    sites = headers.getlist("sec-fetch-site")
    if sites:
        return len(sites) == 1 and sites[0] in OWN_SITES
    origins = headers.getlist("origin")
    if not origins:
        return True
    # The scheme is not compared: a proxy may end TLS before this server.
    own = [f"{scheme}://{host}".lower() for scheme in ("http", "https") for host in hosts]
    return len(origins) == 1 and origins[0].lower() in own


def _wrong_host(hosts: Sequence[str]) -> HostRefusedError:
    given = one_line(", ".join(hosts), LONGEST_SHOWN)
    return HostRefusedError(
        f"The request is for the host {given!r}, which is not this server's." if hosts else "The request names no host.",
        why="A page that gives its own name this server's address could else read what is here.",
        cure="Ask by the address that the server listens on, or add the name to GLOSSATOR_ALLOWED_HOSTS where the server runs.",
    )


def _wrong_site(headers: Headers, is_listed: bool) -> CrossSiteRefusedError:
    origin = one_line(headers.get("origin", ""), LONGEST_SHOWN)
    return CrossSiteRefusedError(
        f"A page of {origin} sent this request." if origin and origin != "null" else "A page of another site sent this request.",
        why="Pages of other sites may change nothing here, except those of listed origins, with a key.",
        cure=WITH_KEY
        if is_listed
        else "Send it from a program, or from a page of this server (/docs), or have GLOSSATOR_CORS_ORIGINS list the origin.",
    )


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_every_address(host: str) -> bool:
    return host == "" or (_is_address(host) and ip_address(host).is_unspecified)
