"""Store browser sessions by digest, and the secret that signs their cookies."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, and_, delete, or_, select
from sqlalchemy.orm import Session

from interp.domain.access import Principal, Scope
from interp.store.access.keys import live
from interp.store.db.bulk import upsert
from interp.store.db.tables import ApiKeyRow, BrowserSessionRow, SharedSecretRow

COOKIE_SECRET = "cookies"


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session that was made now; `id` is stored nowhere."""

    id: str
    expires_at: datetime


def create(session: Session, principal: Principal, lifetime: timedelta) -> NewSession:
    """Write a new session of a key or a user, under a new id."""
    moment = datetime.now(UTC)
    new = NewSession(secrets.token_urlsafe(32), moment + lifetime)
    row = BrowserSessionRow(
        digest=digest_of(new.id),
        key_id=principal.key_id,
        name=principal.name,
        owner=principal.owner or principal.name,
        scopes=sorted(principal.granted),
        created_at=moment,
        expires_at=new.expires_at,
    )
    session.add(row)
    session.execute(delete(BrowserSessionRow).where(BrowserSessionRow.expires_at <= moment))
    return new


def sender(session: Session, session_id: str) -> Principal | None:
    """Return whose session it is; None if it or its key has ended."""
    moment, digest = datetime.now(UTC), digest_of(session_id)
    found = session.execute(
        select(BrowserSessionRow, ApiKeyRow.scopes)
        .outerjoin(ApiKeyRow, ApiKeyRow.id == BrowserSessionRow.key_id)
        .where(BrowserSessionRow.digest == digest, *_live(moment))
    ).one_or_none()
    if found is None:
        return None
    row, of_key = found
    return Principal(row.name, row.owner, frozenset(map(Scope, row.scopes if of_key is None else of_key)), row.key_id, digest)


def is_live(session: Session, digest: str) -> bool:
    """Return whether neither a session nor its key has ended."""
    joined = select(BrowserSessionRow.digest).outerjoin(ApiKeyRow, ApiKeyRow.id == BrowserSessionRow.key_id)
    return session.scalar(joined.where(BrowserSessionRow.digest == digest, *_live(datetime.now(UTC)))) is not None


def expiry_of(session: Session, digest: str) -> datetime | None:
    """Return when a session ends by itself."""
    return session.scalar(select(BrowserSessionRow.expires_at).where(BrowserSessionRow.digest == digest))


def end(session: Session, digest: str) -> None:
    """End a session at once; repeating it changes nothing."""
    session.execute(delete(BrowserSessionRow).where(BrowserSessionRow.digest == digest))


def secret(session: Session) -> str | None:
    """Return the secret that signs cookies, if it was made."""
    return session.scalar(select(SharedSecretRow.value).where(SharedSecretRow.name == COOKIE_SECRET))


def ensure_secret(session: Session) -> str:
    """Return the secret that signs cookies; the first process makes it for all."""
    upsert(session, SharedSecretRow, [{"name": COOKIE_SECRET, "value": secrets.token_hex(32)}], ["name"], update=[])
    return session.execute(select(SharedSecretRow.value).where(SharedSecretRow.name == COOKIE_SECRET)).scalar_one()


def digest_of(session_id: str) -> str:
    return hashlib.sha256(session_id.encode()).hexdigest()


def _live(moment: datetime) -> tuple[ColumnElement[bool], ...]:
    return BrowserSessionRow.expires_at > moment, or_(BrowserSessionRow.key_id.is_(None), and_(*live(moment)))
