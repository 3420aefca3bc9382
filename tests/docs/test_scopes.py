"""Every route says what a key needs for it."""

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute

from api.app import ROUTERS
from api.http.access.scopes import RouteTable, is_declared, needs, scope_of
from api.pages import install as pages
from interp.domain.access import Scope

ROUTES = RouteTable((*ROUTERS, *pages.ROUTERS)).routes

# What readers change of themselves: their own session.
OWN_SESSION = {"begin_session", "end_session"}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{min(route.methods)} {route.path}")
def test_every_route_declares_its_scope(route: APIRoute) -> None:
    assert is_declared(route), f"write @needs(Scope.READ), or what it needs, above {route.name}, or @public: api/http/access/scopes.py"
    if not route.methods <= {"GET", "HEAD"} and route.name not in OWN_SESSION:
        assert scope_of(route) not in (None, Scope.READ), f"{route.name} changes something: who may read may not do that"


def test_a_route_without_a_declaration_is_for_admins() -> None:
    router = APIRouter()

    @router.get("/a")
    def forgotten() -> None: ...

    @router.get("/b")
    @needs(Scope.REVIEW)
    def declared() -> None: ...

    table = RouteTable([router])
    assert [(is_declared(route), scope_of(route)) for route in table.routes] == [(False, Scope.ADMIN), (True, Scope.REVIEW)]
