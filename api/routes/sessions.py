"""Routes of browser sessions: begin one with a key, look at it, end it."""

from datetime import timedelta

from fastapi import APIRouter, Request, Response

from api.http.access.authentication import Authentication
from api.http.access.cookies import SessionCookies, name_of
from api.http.access.scopes import needs
from api.http.openapi import answers
from api.routes.dependencies import Caller, Configured, Store
from api.schemas.access import SessionAnswer
from api.schemas.examples import EXAMPLES
from interp.config.settings import Settings
from interp.domain.access import Principal, Scope
from interp.domain.errors import ConflictError
from interp.store.access import sessions
from interp.store.db.engine import Engine, snapshot, transaction

router = APIRouter(prefix="/v1/session", tags=["access"])


@router.post("", status_code=201, responses=answers(EXAMPLES["session"], 409, 422, status=201))
@needs(Scope.READ)
def begin_session(request: Request, response: Response, engine: Store, settings: Configured, caller: Caller) -> SessionAnswer:
    """Begin a browser's session with a key, in a cookie that scripts cannot read.

    Requests with the cookie may do what the key may, until the session or the key ends. Those that change something send `csrf_token` in the header
    `x-csrf-token`; requests with a key need none.
    """
    if caller.owner is None:
        raise ConflictError("There is nobody to begin a session for.", why="This service has no keys: its machine's users need no login.")
    return begin(engine, settings, request, response, caller)


@router.get("", responses=answers(EXAMPLES["session"], 422))
@needs(Scope.READ)
def get_session(request: Request, engine: Store, caller: Caller) -> SessionAnswer:
    """Return who the caller is, with the token and the end of a browser's session."""
    if caller.session is None:
        return _without(caller)
    cookies = _cookies(request)
    session_id = cookies.session_id(request.scope)
    with snapshot(engine) as session:
        expires_at = sessions.expiry_of(session, caller.session)
    token = None if session_id is None else cookies.csrf_token(session_id)
    return SessionAnswer(name=caller.name, scopes=sorted(caller.granted), csrf_token=token, expires_at=expires_at)


@router.delete("", responses=answers(EXAMPLES["ended_session"], 422))
@needs(Scope.READ)
def end_session(request: Request, response: Response, engine: Store, caller: Caller) -> SessionAnswer:
    """End the browser's session at once, in every process; without one nothing happens."""
    if caller.session is not None:
        with transaction(engine) as session:
            sessions.end(session, caller.session)
    response.delete_cookie(name_of(request.scope), secure=request.scope["scheme"] == "https", httponly=True, samesite="lax")
    return _without(caller)


def begin(engine: Engine, settings: Settings, request: Request, response: Response, caller: Principal) -> SessionAnswer:
    """Write a session under a new id, end the one before, and set its cookie."""
    cookies, lifetime = _cookies(request), timedelta(hours=settings.session_lifetime_hours)
    with transaction(engine) as session:
        if caller.session is not None:
            sessions.end(session, caller.session)
        new = sessions.create(session, caller, lifetime)
    cookies.set(response, request.scope, new.id, round(lifetime.total_seconds()))
    token = cookies.csrf_token(new.id)
    return SessionAnswer(name=caller.name, scopes=sorted(caller.granted), csrf_token=token, expires_at=new.expires_at)


def _without(caller: Principal) -> SessionAnswer:
    return SessionAnswer(name=caller.name, scopes=sorted(caller.granted), csrf_token=None, expires_at=None)


def _cookies(request: Request) -> SessionCookies:
    authentication: Authentication = request.app.state.authentication
    return authentication.cookies()
