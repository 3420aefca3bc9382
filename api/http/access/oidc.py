"""Log users in at an OpenID Connect provider: authorization code with PKCE, by Authlib.

Requests go to public addresses, or to the issuer's own host, which the operator named. Discovery is kept for some minutes, and keys are read at each
login.
"""

import hashlib
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from interp.config.outgoing import OutgoingPolicy
from interp.config.settings import Settings
from interp.domain.access import Principal
from interp.domain.cleaning import one_line
from interp.domain.errors import GlossatorError

# Signatures by keys that only the provider has; never by a shared secret, or none.
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384"]
SKEW_SECONDS, TIMEOUT_SECONDS, KEEP_SECONDS = 60, 10.0, 600.0
MAX_NAME, MAX_SUBJECT = 255, 255


class LoginRefusedError(GlossatorError, code="login-refused", status=403, title="The login is refused"):
    """A login without the provider's word, or of a user without any scope."""


class LoginMissingError(GlossatorError, code="login-not-set-up", status=404, title="No provider is set up"):
    """A service without an OpenID Connect provider."""


class ProviderSilentError(GlossatorError, code="login-provider-silent", status=503, title="The login provider does not answer"):
    """The provider cannot be reached, or its answers are no OpenID Connect."""


@dataclass(frozen=True, slots=True)
class Pending:
    """What one begun login must come back with."""

    state: str
    nonce: str
    verifier: str

    @classmethod
    def new(cls) -> "Pending":
        return cls(secrets.token_urlsafe(24), secrets.token_urlsafe(24), secrets.token_urlsafe(48))


class OidcProvider:
    """The provider of the settings."""

    def __init__(self, settings: Settings) -> None:
        if settings.oidc_issuer is None:
            raise LoginMissingError("This service has no logins.", cure="Use a key, or have the operator set GLOSSATOR_OIDC_ISSUER.")
        self._settings, self._issuer = settings, settings.oidc_issuer
        self._metadata: dict[str, Any] = {}
        self._read_at = float("-inf")

    def url_of(self, pending: Pending, redirect_uri: str) -> str:
        """Return where the browser logs in; raises ProviderSilentError."""
        with self._client(redirect_uri) as client:
            endpoint = self._discovered(client)["authorization_endpoint"]
            url, _ = client.create_authorization_url(endpoint, state=pending.state, nonce=pending.nonce, code_verifier=pending.verifier)
        return str(url)

    def user_of(self, pending: Pending, redirect_uri: str, code: str) -> Principal:
        """Return who has logged in; raises LoginRefusedError and ProviderSilentError."""
        from authlib.common.errors import AuthlibBaseError
        from authlib.oidc.core import CodeIDToken
        from joserfc import jwt
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet
        from joserfc.jws import JWSRegistry

        with self._client(redirect_uri) as client:
            found = self._discovered(client)
            try:
                token = client.fetch_token(found["token_endpoint"], grant_type="authorization_code", code=code, code_verifier=pending.verifier)
                published: Any = _json(client.request("GET", found["jwks_uri"], withhold_token=True))
                keys = KeySet.import_key_set(published)
                decoded = jwt.decode(str(token["id_token"]), keys, registry=JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False))
                expected = {"iss": {"essential": True, "value": self._issuer}, "aud": {"essential": True, "value": self._settings.oidc_client_id}}
                sent = {"nonce": pending.nonce, "client_id": self._settings.oidc_client_id, "access_token": token.get("access_token")}
                claims = CodeIDToken(decoded.claims, decoded.header, expected, sent)
                claims.validate(leeway=SKEW_SECONDS)
            except (AuthlibBaseError, JoseError, KeyError, TypeError, ValueError) as error:
                why = one_line(f"{type(error).__name__}: {error}", MAX_NAME)
                raise LoginRefusedError("The provider does not vouch for this login.", why=why, cure="Log in again.") from error
        return self._principal(claims)

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        settings = self._settings
        values = _values(claims, settings.oidc_claim)
        granted = frozenset(scope for value in values for scope in settings.oidc_scopes.get(value, ()))
        subject = str(claims["sub"])
        if not granted or not subject:
            raise LoginRefusedError(
                "The user may do nothing here.",
                why=f"No value of the claim `{settings.oidc_claim}` has a scope.",
                cure="Have the operator add one of the user's groups to GLOSSATOR_OIDC_SCOPES.",
            )
        name = next((str(claims[key]) for key in ("email", "preferred_username") if claims.get(key)), subject)
        return Principal(one_line(name, MAX_NAME), _owner(self._issuer, subject), granted)

    def _discovered(self, client: Any) -> dict[str, Any]:
        if time.monotonic() - self._read_at > KEEP_SECONDS:
            found = _json(client.request("GET", f"{self._issuer.rstrip('/')}/.well-known/openid-configuration", withhold_token=True))
            missing = [name for name in ("authorization_endpoint", "token_endpoint", "jwks_uri") if not isinstance(found.get(name), str)]
            if found.get("issuer") != self._issuer or missing:
                raise ProviderSilentError(
                    "The provider's own description does not fit.",
                    why=f"It lacks {', '.join(missing)}." if missing else "It names another issuer.",
                    cure="Have the operator set GLOSSATOR_OIDC_ISSUER to the issuer as the provider writes it.",
                )
            self._metadata, self._read_at = found, time.monotonic()
        return self._metadata

    @contextmanager
    def _client(self, redirect_uri: str) -> Iterator[Any]:
        try:
            from authlib.integrations.httpx_client import OAuth2Client
        except ImportError as error:
            cure = "Have the operator install `glossator[oidc]`."
            raise LoginMissingError("This service cannot log users in.", why="Authlib is not installed.", cure=cure) from error
        import httpx2

        from interp.subject.hub import HubTransport, small_files

        secret = self._settings.oidc_client_secret.get_secret_value()
        client = OAuth2Client(
            self._settings.oidc_client_id,
            secret or None,
            token_endpoint_auth_method="client_secret_basic" if secret else "none",
            scope="openid email profile",
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
            transport=HubTransport(OutgoingPolicy.of([self._issuer], self._settings.allowed_private_networks), httpx2.HTTPTransport()),
            timeout=TIMEOUT_SECONDS,
            trust_env=False,
        )
        try:
            with small_files(), client:
                yield client
        except httpx2.HTTPError as error:
            why = one_line(f"{type(error).__name__}: {error}", MAX_NAME)
            raise ProviderSilentError("The login provider does not answer.", why=why, cure="Try again later, or use a key.") from error


def _json(answer: Any) -> dict[str, Any]:
    """Return the object of a provider's answer; raises ProviderSilentError."""
    try:
        found = answer.json() if answer.status_code == 200 else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ProviderSilentError("The login provider's answer cannot be read.", why=f"Its status is {answer.status_code}.", cure="Try again later.")
    return found


def _values(claims: Mapping[str, Any], claim: str) -> list[str]:
    """Return the values that decide the scopes; unverified addresses have no domain."""
    if claim == "email_domain":
        email = claims.get("email")
        return [email.rpartition("@")[2].lower()] if isinstance(email, str) and claims.get("email_verified") is True else []
    found = claims.get(claim)
    return [value for value in (found if isinstance(found, list) else [found]) if isinstance(value, str)]


def _owner(issuer: str, subject: str) -> str:
    """Return the stable name of a user; no key's name holds `/`."""
    whole = f"{issuer}#{subject}"
    return whole if len(whole) <= MAX_SUBJECT and whole.isprintable() else f"{issuer[:100]}#sha256/{hashlib.sha256(whole.encode()).hexdigest()}"
