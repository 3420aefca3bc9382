"""Settings of browser sessions and of logins at an OpenID Connect provider."""

from typing import Self

from pydantic import BaseModel, Field, SecretStr, field_validator, model_validator

from interp.config.outgoing import Link
from interp.config.values import Url
from interp.domain.access import Scope

# Providers that need no TLS: of this machine.
OWN_HOSTS = ("localhost", "127.0.0.1", "::1")


class Logins(BaseModel):
    """Browser sessions and logins."""

    session_secret: SecretStr = Field(
        default=SecretStr(""), description="Signs the cookies of browser sessions; made once and kept in the database when empty."
    )
    session_lifetime_hours: float = Field(default=12.0, gt=0, le=24 * 30, description="Time after which a browser session ends.")

    oidc_issuer: Url | None = Field(default=None, description="Issuer of an OpenID Connect provider that users log in at; none when not given.")
    oidc_client_id: str = Field(default="", description="The client that the provider knows this service as.")
    oidc_client_secret: SecretStr = Field(default=SecretStr(""), description="That client's secret; empty for a public client.")
    oidc_claim: str = Field(
        default="groups",
        description="Claim of the ID token that decides a user's scopes; `email_domain` is the domain of `email`, where it is verified.",
    )
    oidc_scopes: dict[str, tuple[Scope, ...]] = Field(
        default_factory=dict, description='Scopes of each value of that claim, as JSON: {"interp-team": ["submit"], "admins": ["admin"]}.'
    )

    @field_validator("session_secret")
    @classmethod
    def _check_session_secret(cls, value: SecretStr) -> SecretStr:
        if 0 < len(value.get_secret_value()) < 32:
            raise ValueError("session_secret is too short: write 32 characters or more, as `openssl rand -hex 32` gives them")
        return value

    @model_validator(mode="after")
    def _check_oidc(self) -> Self:
        if self.oidc_issuer is not None and not (self.oidc_client_id and self.oidc_scopes):
            raise ValueError("oidc_issuer needs oidc_client_id, and oidc_scopes, without which no user may do anything")
        host = Link.of(self.oidc_issuer).host if self.oidc_issuer else "localhost"
        if str(self.oidc_issuer).startswith("http://") and host not in OWN_HOSTS:
            raise ValueError("oidc_issuer begins with http://: codes and secrets go to a provider over TLS alone")
        return self
