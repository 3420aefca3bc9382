"""Limit the requests of a key or address, with one rate for each kind."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_network
from typing import Self

from limits import RateLimitItem, parse_many
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.access.authentication import sent_keys
from api.http.access.control import ACTION, CLOSE, PRINCIPAL
from api.http.edge.client_address import UNKNOWN, address_of, parsed
from api.http.edge.counters import Counters, Standing
from api.http.problems import answer_to
from interp.config.settings import Settings
from interp.domain.access import LOCAL, Principal
from interp.domain.api_key import parsed as parsed_key
from interp.domain.errors import GlossatorError

READING = frozenset({"GET", "HEAD", "OPTIONS"})
# Operations that take a process, a model, a search over all rows or an answer without end, and the pages that read as much.
EXPENSIVE = frozenset(
    {
        "estimate_job",
        "submit_check",
        "list_explanations",
        "search_labels",
        "get_dictionary_figures",
        "get_dictionary_league",
        "get_dictionary_stability",
        "get_dictionary_map",
        "get_review_queue",
        "get_agreement",
        "submit_export",
        "join_files",
        "get_export_content",
        "compute_activations",
        "steer_text",
        "begin_login",
        "finish_login",
        "show_agreement",
        "show_compare",
        "show_dictionary_figures",
        "show_map",
        "show_review",
        "show_search",
    }
)
PROBES = frozenset({"get_health", "get_readiness"})
# Valid keys that are remembered, which failed logins of their address do not hold up.
KNOWN_KEYS = 1024
# One client has at least so many IPv6 addresses.
IPV6_PREFIX = 64


class RateLimitedError(GlossatorError, code="rate-limited", status=429, title="Too many requests"):
    """A client that sent more requests than a rate allows; `details.limit` names the rate."""


@dataclass(frozen=True, slots=True)
class Limit:
    """The rates of one kind of request."""

    name: str
    rates: tuple[RateLimitItem, ...]

    @classmethod
    def of(cls, settings: Settings, name: str) -> Self:
        text: str = getattr(settings, f"rate_{name}")
        return cls(name, tuple(parse_many(text)) if text else ())

    def headers(self, standing: Standing) -> dict[str, str]:
        """Return the headers of draft-ietf-httpapi-ratelimit-headers-10."""
        policies = [f'"{self._policy(rate)}";q={rate.amount};w={rate.get_expiry()}' for rate in self.rates]
        left = f'"{self._policy(standing.rate)}";r={standing.remaining};t={standing.seconds}'
        return {"RateLimit-Policy": ", ".join(policies), "RateLimit": left}

    def error(self, standing: Standing, client: Sequence[str]) -> RateLimitedError:
        seconds = standing.seconds
        return RateLimitedError(
            f"The {client[0]} {client[1]} has sent too many requests of the kind `{self.name}`.",
            why=f"It may send {standing.rate}.",
            cure=f"Wait {seconds} s (Retry-After), or have the operator change GLOSSATOR_RATE_{self.name.upper()}.",
            limit=self.name,
            seconds=seconds,
        )

    def _policy(self, rate: RateLimitItem) -> str:
        return self.name if len(self.rates) == 1 else f"{self.name}-{rate.get_expiry()}s"


class RateLimits:
    """Middleware that counts admitted requests by key, by user, or by address without one."""

    def __init__(self, app: ASGIApp, counters: Counters, settings: Settings) -> None:
        self._app, self._counters = app, counters
        self._limits = {name: Limit.of(settings, name) for name in ("reads", "writes", "expensive")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.get("state", {})
        client, limit = _client(scope, state.get(PRINCIPAL)), self._limit(scope["method"], state.get(ACTION))
        if client is None or limit is None or not limit.rates:
            await self._app(scope, receive, send)
            return
        standing = await self._counters.hit(limit.rates, *client, limit.name)
        if not standing.is_allowed:
            await _refusal(scope, limit, standing, client)(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(limit.headers(standing))
            await send(message)

        await self._app(scope, receive, with_headers)

    def _limit(self, method: str, action: str | None) -> Limit | None:
        if action in PROBES:
            return None
        return self._limits["expensive" if action in EXPENSIVE else "reads" if method in READING else "writes"]


class LoginLimits:
    """Middleware that counts keys that are not valid, by address.

    Beyond the rate, a key is not even looked up, unless this process has seen it accepted: a forgotten program with a revoked key must not lock out
    its neighbours.
    """

    def __init__(self, app: ASGIApp, counters: Counters, settings: Settings) -> None:
        self._app, self._counters = app, counters
        self._limit = Limit.of(settings, "failed_logins")
        self._known: OrderedDict[str, None] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        keys = sent_keys(Headers(scope=scope)) if scope["type"] == "http" and self._limit.rates else frozenset()
        if not keys:
            await self._app(scope, receive, send)
            return
        client = ("address", _network_of(scope))
        digest = _digest(keys)
        if digest is None or digest not in self._known:
            standing = await self._counters.refusal(self._limit.rates, *client, self._limit.name)
            if standing is not None:
                await _refusal(scope, self._limit, standing, client)(scope, receive, send)
                return
        status = 0

        async def with_status(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        await self._app(scope, receive, with_status)
        if status == 401:
            self._known.pop(digest or "", None)
            await self._counters.hit(self._limit.rates, *client, self._limit.name)
        elif digest is not None:
            self._remember(digest)

    def _remember(self, digest: str) -> None:
        self._known[digest] = None
        self._known.move_to_end(digest)
        if len(self._known) > KNOWN_KEYS:
            self._known.popitem(last=False)


def _client(scope: Scope, principal: Principal | None) -> tuple[str, str] | None:
    """Return who is counted; None for this machine on a service without keys."""
    if principal is not None and principal.key_id is not None:
        return "key", principal.key_id
    if principal is not None and principal.owner is not None:
        return "user", principal.owner
    address = parsed(address_of(scope))
    is_own = address is not None and address.is_loopback and principal in (None, LOCAL)
    return None if is_own else ("address", _network_of(scope))


def _network_of(scope: Scope) -> str:
    """Return the client's address; of IPv6 the network that one client has."""
    address = parsed(address_of(scope))
    if address is None:
        return UNKNOWN
    return str(ip_network((address, IPV6_PREFIX), strict=False)) if isinstance(address, IPv6Address) else str(address)


def _digest(keys: frozenset[str]) -> str | None:
    key = parsed_key(next(iter(keys))) if len(keys) == 1 else None
    return None if key is None else key.digest


def _refusal(scope: Scope, limit: Limit, standing: Standing, client: Sequence[str]) -> JSONResponse:
    headers = limit.headers(standing) | {"Retry-After": str(standing.seconds)}
    return answer_to(scope, limit.error(standing, client), headers if scope["method"] in READING else headers | CLOSE)
