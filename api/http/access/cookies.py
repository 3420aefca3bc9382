"""Sign and read the cookies of browser sessions, and the tokens of their writes.

A browser sends a cookie with every request, whoever made it send one. So a write by cookie needs a token as well (a synchroniser token, bound to the
session), which only a page that can read this server's answers knows.
"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from itsdangerous import BadSignature, Signer
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Scope

from interp.domain.errors import GlossatorError

CSRF_HEADER = "x-csrf-token"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
# `__Host-`: browsers take it over TLS and for this host alone, so no other site of the domain sets it.
OVER_TLS, PLAIN = "__Host-glossator_session", "glossator_session"
LONGEST = 256


class CsrfTokenMissingError(GlossatorError, code="csrf-token-missing", status=403, title="The request needs its session's token"):
    """A write with a session's cookie, without the token of that session."""


@dataclass(frozen=True, slots=True)
class SessionCookies:
    """The signatures of one secret, which all processes share."""

    secret: str

    def session_id(self, scope: Scope) -> str | None:
        """Return the session of a request's cookie; None without exactly one that was signed here."""
        values = cookies(Headers(scope=scope), name_of(scope))
        if len(values) != 1 or len(values[0]) > LONGEST:
            return None
        try:
            return self._signer("cookie").unsign(values[0]).decode()
        except (BadSignature, UnicodeError):
            return None

    def csrf_token(self, session_id: str) -> str:
        """Return the token that writes of a session need."""
        return self._signer("csrf").get_signature(session_id).decode()

    def check_csrf(self, scope: Scope, session_id: str) -> None:
        """Raise CsrfTokenMissingError for a write without its session's token."""
        given = Headers(scope=scope).get(CSRF_HEADER, "")
        if scope["method"] not in SAFE and not hmac.compare_digest(given.encode(), self.csrf_token(session_id).encode()):
            raise CsrfTokenMissingError(
                "The request changes something with a session's cookie, and has not its token.",
                why="Pages of other sites can make a browser send its cookies.",
                cure=f"Send the `csrf_token` of the session in the header `{CSRF_HEADER}`, or use a key.",
            )

    def set(self, response: Response, scope: Scope, session_id: str, seconds: int) -> None:
        """Put a session into an answer's cookie."""
        value = self._signer("cookie").sign(session_id).decode()
        put(response, scope, name_of(scope), value, seconds)

    def _signer(self, purpose: str) -> Signer:
        return Signer(self.secret, salt=f"glossator.session.{purpose}", key_derivation="hmac", digest_method=hashlib.sha256)


def put(response: Response, scope: Scope, name: str, value: str, seconds: int) -> None:
    """Set a cookie that scripts cannot read and other sites' requests do not carry."""
    response.set_cookie(name, value, max_age=seconds, path="/", secure=scope["scheme"] == "https", httponly=True, samesite="lax")


def name_of(scope: Scope) -> str:
    return OVER_TLS if scope["scheme"] == "https" else PLAIN


def cookies(headers: Headers, name: str) -> Sequence[str]:
    """Return all values of a cookie: of two, one may be another site's."""
    pairs = [pair.strip().partition("=") for line in headers.getlist("cookie") for pair in line.split(";")]
    return [value for key, _, value in pairs if key == name]
