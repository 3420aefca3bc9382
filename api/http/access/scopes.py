"""Declare the scope that a route needs: `@needs(Scope.READ)` or `@public`, below the route's decorator.

A route without a declaration needs `admin`, and a test names it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope as Connection

from interp.domain.access import Scope

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
_DECLARED = "required_scope"
# What the application serves beside its routers.
PUBLIC_PATHS = frozenset({"/openapi.json"})
PUBLIC_FOLDER = "/static/"


def needs(scope: Scope) -> Callable[[Endpoint], Endpoint]:
    """Return a decorator that declares the scope of an endpoint."""

    def declare(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _DECLARED, scope)
        return endpoint

    return declare


def public(endpoint: Endpoint) -> Endpoint:
    """Declare an endpoint that needs no key: it shows and changes nothing of the installation."""
    setattr(endpoint, _DECLARED, None)
    return endpoint


def is_declared(route: APIRoute) -> bool:
    return hasattr(route.endpoint, _DECLARED)


def scope_of(route: APIRoute) -> Scope | None:
    """Return the scope that a route needs; None for a public one."""
    scope: Scope | None = getattr(route.endpoint, _DECLARED, Scope.ADMIN)
    return scope


@dataclass(frozen=True, slots=True)
class Target:
    """The operation that a request is for, and the scope that it needs (None: none).

    `status` is that of its answer when it succeeds.
    """

    action: str
    scope: Scope | None
    status: int = 200


class RouteTable:
    """All routes of some routers, in the order in which the application tries them."""

    def __init__(self, routers: Sequence[APIRouter]) -> None:
        self.routes = tuple(_routes(routers))

    def find(self, connection: Connection) -> Target | None:
        """Return what a request is for; None where no route has its path."""
        path = connection["path"]
        if path in PUBLIC_PATHS or path.startswith(PUBLIC_FOLDER):
            return Target(path.strip("/"), None)
        other: Target | None = None
        for route in self.routes:
            match, _ = route.matches(connection)
            if match == Match.FULL:
                return Target(route.name, scope_of(route), route.status_code or 200)
            if match == Match.PARTIAL:
                # Of another method: the application answers 405.
                other = other or Target(route.name, scope_of(route))
        return other


def _routes(routers: Sequence[APIRouter]) -> Iterator[APIRoute]:
    for router in routers:
        for route in router.routes:
            if not isinstance(route, APIRoute):
                raise TypeError(f"{route!r} is no plain route: its scope cannot be told. Give the application its router itself.")
            yield route
