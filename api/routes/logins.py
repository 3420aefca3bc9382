"""Routes of logins at an OpenID Connect provider, which browsers follow."""

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response
from itsdangerous import BadSignature, URLSafeTimedSerializer
from pydantic import BaseModel, ConfigDict, Field

from api.http.access.authentication import Authentication
from api.http.access.cookies import cookies, put
from api.http.access.oidc import LoginRefusedError, OidcProvider, Pending
from api.http.access.scopes import public
from api.routes import sessions
from api.routes.dependencies import Configured, Store
from interp.domain.cleaning import one_line

router = APIRouter(prefix="/v1/session", include_in_schema=False)

OVER_TLS, PLAIN = "__Host-glossator_login", "glossator_login"
LOGIN_SECONDS, LONGEST = 600, 2000
FIRST_PAGE = "/"


class Returned(BaseModel):
    """What a provider sends back with the browser; most of it is not needed."""

    model_config = ConfigDict(extra="ignore")

    code: str = Field(default="", max_length=LONGEST)
    state: str = Field(default="", max_length=LONGEST)
    error: str = Field(default="", max_length=LONGEST)
    error_description: str = ""
    error_uri: str = ""
    iss: str = ""
    session_state: str = ""
    scope: str = ""
    authuser: str = ""
    hd: str = ""
    prompt: str = ""


@router.get("/login")
@public
def begin_login(request: Request, to: Annotated[str, Query(alias="next", max_length=LONGEST)] = FIRST_PAGE) -> Response:
    """Send the browser to the provider."""
    provider, pending = _provider(request), Pending.new()
    answer = RedirectResponse(provider.url_of(pending, _own_url(request)), status_code=302)
    begun = _signer(request).dumps([pending.state, pending.nonce, pending.verifier, _own_path(to)])
    put(answer, request.scope, _name(request), str(begun), LOGIN_SECONDS)
    return answer


@router.get("/callback")
@public
def finish_login(request: Request, engine: Store, settings: Configured, returned: Annotated[Returned, Query()]) -> Response:
    """Begin the session of a browser that comes back from the provider."""
    pending, to = _begun(request)
    if returned.error or not returned.code or returned.state != pending.state:
        why = f"It says: {one_line(returned.error, 100)}." if returned.error else "The state is not that of a login that this browser began."
        raise LoginRefusedError("The provider sent no login.", why=why, cure="Log in again.")
    user = _provider(request).user_of(pending, _own_url(request), returned.code)
    answer = RedirectResponse(to, status_code=302)
    sessions.begin(engine, settings, request, answer, user)
    answer.delete_cookie(_name(request), secure=request.scope["scheme"] == "https", httponly=True, samesite="lax")
    return answer


def _begun(request: Request) -> tuple[Pending, str]:
    """Return the login that this browser began; raises LoginRefusedError."""
    values = cookies(request.headers, _name(request))
    try:
        state, nonce, verifier, to = _signer(request).loads(values[0] if len(values) == 1 else "", max_age=LOGIN_SECONDS)
    except BadSignature as error:
        why = "It has no cookie of one, or began it too long ago."
        raise LoginRefusedError("This browser began no login.", why=why, cure="Log in again, in one window.") from error
    return Pending(state, nonce, verifier), to


def _provider(request: Request) -> OidcProvider:
    state = request.app.state
    if getattr(state, "oidc", None) is None:
        state.oidc = OidcProvider(state.settings)
    found: OidcProvider = state.oidc
    return found


def _signer(request: Request) -> URLSafeTimedSerializer:
    authentication: Authentication = request.app.state.authentication
    return URLSafeTimedSerializer(authentication.cookies().secret, salt="glossator.login")


def _name(request: Request) -> str:
    return OVER_TLS if request.scope["scheme"] == "https" else PLAIN


def _own_url(request: Request) -> str:
    """Return where the provider sends the browser back to; the Host was checked before."""
    return f"{request.scope['scheme']}://{request.headers['host']}/v1/session/callback"


def _own_path(to: str) -> str:
    """Return a path of this server; other addresses become the first page."""
    parts = urlsplit(to)
    is_own = to.startswith("/") and not to.startswith("//") and "\\" not in to and to.isprintable() and not parts.netloc
    return to if is_own else FIRST_PAGE
