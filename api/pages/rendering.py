"""Render Jinja templates into pages, with their headers."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from api.http.access.authentication import Authentication
from api.http.access.control import PRINCIPAL
from api.http.pages import STATIC
from api.pages.feature_view import MARKUP
from api.pages.figures import FILTERS
from interp.config.settings import Settings
from interp.domain.access import Principal, Scope

TEMPLATES = Path(__file__).parent / "templates"
# A page loads and asks what this server has, and runs nothing that stands in it.
SOURCES = "default-src 'none'; base-uri 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'"
# Forms without scripts send their origin alone under this policy; other sites are told nothing.
REFERRER = "same-origin"
HTMX = "hx-request"
HTMX_CONFIG = {
    "allowEval": False,
    "allowScriptTags": False,
    "includeIndicatorStyles": False,
    "selfRequestsOnly": True,
    "historyCacheSize": 0,
    "refreshOnHistoryMiss": True,
    "scrollBehavior": "auto",
    # A refusal is a fragment of its own, which says where it goes.
    "responseHandling": [
        {"code": "204", "swap": False},
        {"code": "[23]..", "swap": True},
        {"code": "[45]..", "swap": True, "error": True},
    ],
}


@dataclass(frozen=True, slots=True)
class NavigationEntry:
    """A link of the navigation, with the paths that it stands for."""

    path: str
    name: str
    below: tuple[str, ...] = ()

    def is_current(self, path: str) -> bool:
        return path == self.path or path.startswith(self.below)


NAVIGATION = (
    NavigationEntry("/", "Home", ("/dictionaries", "/jobs")),
    NavigationEntry("/search", "Search"),
    NavigationEntry("/compare", "Compare"),
    NavigationEntry("/review", "Review"),
    NavigationEntry("/docs", "Docs"),
)


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks at a page, and what the page needs to let them act."""

    name: str | None
    is_local: bool
    scopes: frozenset[Scope]
    csrf_token: str | None

    @classmethod
    def of(cls, request: Request) -> Self:
        """Return the sender of a request; public pages have none."""
        found: Principal | None = getattr(request.state, PRINCIPAL, None)
        if found is None:
            return cls(None, False, frozenset(), None)
        return cls(found.name, found.owner is None, found.scopes, _csrf_token(request, found))

    def may(self, scope: str) -> bool:
        return Scope(scope) in self.scopes

    @property
    def headers(self) -> str:
        """Return the headers, as JSON, that writes by htmx and scripts add."""
        return json.dumps({} if self.csrf_token is None else {"x-csrf-token": self.csrf_token})


def _csrf_token(request: Request, caller: Principal) -> str | None:
    if caller.session is None:
        return None
    authentication: Authentication = request.app.state.authentication
    cookies = authentication.cookies()
    session_id = cookies.session_id(request.scope)
    return None if session_id is None else cookies.csrf_token(session_id)


@cache
def environment() -> Environment:
    """Return the templates, which escape every text and refuse missing names."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, auto_reload=False
    )
    made.filters |= FILTERS | MARKUP
    made.globals |= {"static": static, "htmx_config": Markup("{}").format(json.dumps(HTMX_CONFIG)), "version": version("glossator")}
    return made


@cache
def static(path: str) -> str:
    """Return the address of a file below `api/static`, which changes with the file."""
    found = (STATIC / path).stat()
    return f"/static/{path}?v={found.st_mtime_ns:x}-{found.st_size:x}"


def is_fragment(request: Request) -> bool:
    """Return whether htmx asks, for a part of the page that it has."""
    return HTMX in request.headers


def render(request: Request, template: str, *, status: int = 200, framed_by: Sequence[str] = (), **values: Any) -> HTMLResponse:
    """Return the page of a template.

    `framed_by` are the origins whose pages may hold it as a frame; by default none may.
    """
    page = environment().get_template(template).render(**shared(request), **values)
    return HTMLResponse(page, status, headers=headers(framed_by))


def shared(request: Request) -> dict[str, Any]:
    """Return what every template knows: path, viewer and navigation."""
    settings: Settings = request.app.state.settings
    path = request.url.path
    return {
        "path": path,
        "viewer": Viewer.of(request),
        "has_login": settings.oidc_issuer is not None,
        "navigation": [(entry, entry.is_current(path)) for entry in getattr(request.app.state, "navigation", NAVIGATION)],
    }


def headers(framed_by: Sequence[str] = (), form_action: str = "'self'") -> dict[str, str]:
    """Return the headers of a page: policy, referrer, and that it depends on who asks."""
    frames = " ".join(framed_by) or "'none'"
    return {
        "Content-Security-Policy": f"{SOURCES}; form-action {form_action}; frame-ancestors {frames}",
        "Referrer-Policy": REFERRER,
        "Cache-Control": "no-cache",
        "Vary": "Accept, Cookie, HX-Request",
    }
