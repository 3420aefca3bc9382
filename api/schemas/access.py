"""Keys of the API, and entries of the audit log."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, ConfigDict, Field

from api.schemas.base import Page, ResponseModel
from interp.domain.access import Scope

# Names are shown in logs, terminals and web pages, and are never longer than their column.
MOST_JOBS, MOST_FEATURES, MOST_DOLLARS = 10**6, 10**12, 10**6
OWNER = r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$"


def _distinct(scopes: tuple[Scope, ...]) -> tuple[Scope, ...]:
    return tuple(sorted(set(scopes)))


class KeyAnswer(ResponseModel):
    """An API key, without its secret."""

    id: str
    prefix: str = Field(description="How the key begins; the rest is not stored.")
    name: str = Field(description="The owner of what the key makes. Keys of one name are one owner's.")
    scopes: list[Scope] = Field(description="As granted: `admin` implies all others, `submit` and `review` imply `read`.")
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="To the minute.")
    revoked_at: datetime | None


class NewKeyAnswer(KeyAnswer):
    """A key that was just made, with its text, which no later answer shows."""

    key: str


class KeyPage(Page[KeyAnswer]):
    """One page of keys, oldest first."""


class KeyQuota(ResponseModel):
    """What a key may use at most; null is no limit."""

    model_config = ConfigDict(extra="forbid", defer_build=False)

    max_jobs: int | None = Field(default=None, ge=0, le=MOST_JOBS, description="Jobs that have not ended, at once; checks are jobs, too.")
    features_per_day: int | None = Field(default=None, ge=0, le=MOST_FEATURES, description="Features of jobs of the last 24 hours.")
    dollars_per_month: float | None = Field(
        default=None, ge=0, le=MOST_DOLLARS, description="US dollars of the last 30 days: those spent, and the caps of jobs that have not ended."
    )


class KeyUsage(ResponseModel):
    """What a key uses now, of the same kinds as its quota."""

    jobs: int
    features: int
    dollars: float


class KeyUsageAnswer(ResponseModel):
    """A key's quota, and what it uses of it."""

    id: str | None = Field(description="The key's id; null for a user, and on a service without keys.")
    name: str
    scopes: list[Scope]
    quota: KeyQuota
    usage: KeyUsage


class NewKeyRequest(ResponseModel):
    """A key to make."""

    model_config = ConfigDict(extra="forbid", defer_build=False)

    name: str = Field(pattern=OWNER, description="The owner of what the key makes: a person, a team or a program.")
    scopes: Annotated[tuple[Scope, ...], AfterValidator(_distinct)] = Field(default=(Scope.READ,), min_length=1, max_length=len(Scope))
    expires_at: AwareDatetime | None = Field(default=None, description="When the key ends; never where left out.")
    quota: KeyQuota = KeyQuota()


class SessionAnswer(ResponseModel):
    """Who a caller is, and the browser's session of the request."""

    name: str
    scopes: list[Scope]
    csrf_token: str | None = Field(description="The header `x-csrf-token` of requests that change something; null for a request with a key.")
    expires_at: datetime | None = Field(description="The end of the session; null for a request with a key.")


class AuditAnswer(ResponseModel):
    """A request that changed something, or was refused."""

    id: int
    at: datetime
    who: str | None = Field(description="The owner's name; null for an unknown sender.")
    key: str | None = Field(description="The id of the sender's key.")
    address: str | None = Field(description="The address of the connection's other end.")
    action: str = Field(description="The operation's name, as in this document; `none` where the path is no operation's.")
    target: str = Field(description="The address of what was made, or the request's path.")
    status: int
    code: str | None = Field(description="The code of the problem that refused it.")
    request_id: str | None = Field(description="The `X-Request-ID` of the request, and of its lines in the log.")
    unlisted: int = Field(description="Refused requests of unknown senders before this one that were too many to list.")


class AuditPage(Page[AuditAnswer]):
    """One page of the audit log, newest first."""
