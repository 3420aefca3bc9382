"""Admit requests by key and scope, before their bodies are read."""

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api.http import problems
from api.http.access.authentication import Authentication, KeyRefusedError
from api.http.access.cookies import CsrfTokenMissingError
from api.http.access.scopes import RouteTable, Target
from interp.domain.access import Principal
from interp.domain.access import Scope as Right
from interp.domain.errors import GlossatorError
from interp.domain.spec import JobSpec
from interp.store.db.engine import DBAPIError

# The rest of an unread body would be parsed as the next request.
CLOSE = {"Connection": "close"}
METRICS = "/metrics"
# The names in a request's state of who sends it, and of its operation.
PRINCIPAL, ACTION = "principal", "action"
# Of an admitted request: the status of its answer when it succeeds.
SUCCESS = "success"

DEFAULT_PRIORITY: int = JobSpec.model_fields["priority"].default


class ScopeMissingError(GlossatorError, code="scope-missing", status=403, title="The key may not do this"):
    """A valid key without the scope that the route needs; `details.scope` names it."""


class NotOwnerError(GlossatorError, code="not-owner", status=403, title="The object belongs to another owner"):
    """A change that only the object's owner and admins may make."""


class AccessControl:
    """Middleware that refuses requests without a valid key (401) or the route's scope (403).

    The state of an admitted request has its `principal`; public routes have none.
    """

    def __init__(self, app: ASGIApp, authentication: Authentication, routes: RouteTable) -> None:
        self._app, self._authentication, self._routes = app, authentication, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        target = self._routes.find(scope)
        state = scope.setdefault("state", {})
        state[ACTION] = None if target is None else target.action
        if target is None or target.scope is not None:
            try:
                state[PRINCIPAL] = principal = await self._authentication.principal(scope)
                _check_scope(principal, target)
            except KeyRefusedError as error:
                await problems.answer_to(scope, error, {"WWW-Authenticate": error.challenge} | CLOSE)(scope, receive, send)
                return
            except (ScopeMissingError, CsrfTokenMissingError) as error:
                await problems.answer_to(scope, error, CLOSE)(scope, receive, send)
                return
            except DBAPIError as error:
                if scope["path"] == METRICS and self._authentication.was_open:
                    # They say that the database is away, and a scrape without it reads only counts of this process.
                    await self._app(scope, receive, send)
                    return
                await (await problems.database_problem(Request(scope), error))(scope, receive, send)
                return
        if target is not None:
            state[SUCCESS] = target.status
        await self._app(scope, receive, send)


def _check_scope(principal: Principal, target: Target | None) -> None:
    """Raise ScopeMissingError for a scope that is missing; an unknown path is answered by 404."""
    if target is None or target.scope is None or principal.may(target.scope):
        return
    raise ScopeMissingError(
        f"{target.action} needs the scope `{target.scope}`.",
        why=f"The key {principal.key_id} of {principal.name} has: {', '.join(sorted(principal.granted)) or 'none'}.",
        cure=f"Use a key with the scope `{target.scope}`; an operator makes one with `glossator keys create --scope {target.scope}`.",
        scope=target.scope,
    )


def check_priority(principal: Principal, priority: int) -> None:
    """Raise ScopeMissingError for a priority above the default one, which is for admins."""
    if priority > DEFAULT_PRIORITY and not principal.is_admin:
        raise ScopeMissingError(
            f"A priority above {DEFAULT_PRIORITY} needs the scope `{Right.ADMIN}`.",
            why="It puts a job ahead of everyone else's.",
            cure="Leave `priority` out, or ask an admin.",
            scope=Right.ADMIN,
        )


def check_owner(principal: Principal, owner: str | None, what: str) -> None:
    """Raise NotOwnerError unless the principal owns an object, or is an admin."""
    if not principal.may_change(owner):
        whose = f"belongs to {owner}" if owner is not None else "belongs to nobody, since it was made without a key"
        cure = f"Ask its owner, or use a key with the scope `{Right.ADMIN}`."
        raise NotOwnerError(f"{what} {whose}.", why=f"You are {principal.name}.", cure=cure)
