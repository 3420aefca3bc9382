"""Store API keys, of which only digests are kept; rows are never deleted."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, Connection, bindparam, exists, or_, select, tuple_, update
from sqlalchemy.orm import Session

from interp.domain.access import Principal, Scope
from interp.domain.api_key import ApiKey, new_key, parsed, same
from interp.domain.errors import NotFoundError
from interp.store.db.bulk import upsert
from interp.store.db.dialect import now
from interp.store.db.tables import ApiKeyRow
from interp.store.listings.keyset import ListingPage

# A key's last use is written at most this often.
LAST_USE_SECONDS = 60.0
# Compared with what an unknown id sends, so that it takes the time of a known one.
NO_DIGEST = "0" * 64
# Made once: every request executes one of them.
COLUMNS = (ApiKeyRow.digest, ApiKeyRow.name, ApiKeyRow.scopes, ApiKeyRow.expires_at, ApiKeyRow.revoked_at)
BY_ID = select(*COLUMNS).where(ApiKeyRow.id == bindparam("key_id"))
ANY = select(exists().where(ApiKeyRow.id.is_not(None)))


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was made now; `text` is stored nowhere."""

    text: str
    row: ApiKeyRow


def create(session: Session, name: str, scopes: Collection[Scope], created_by: str, expires_at: datetime | None = None) -> NewKey:
    """Write a new key; all keys of one name own the same objects."""
    text = new_key()
    key = parsed(text)
    assert key is not None
    row = ApiKeyRow(
        id=key.id, name=name, digest=key.digest, scopes=sorted(scopes), created_by=created_by, created_at=now(session), expires_at=expires_at
    )
    session.add(row)
    session.flush()
    return NewKey(text, row)


def ensure(session: Session, key: ApiKey, name: str, created_by: str) -> None:
    """Write an admin's key of the settings, unless its id is known (revoked or not)."""
    row = {"id": key.id, "name": name, "digest": key.digest, "scopes": [Scope.ADMIN], "created_by": created_by, "created_at": now(session)}
    upsert(session, ApiKeyRow, [row], ["id"], update=[])


def sender(session: Session | Connection, key: ApiKey) -> Principal | None:
    """Return who sends a key; None if it is unknown, expired or revoked."""
    row = session.execute(BY_ID, {"key_id": key.id}).one_or_none()
    is_same = same(key.digest, NO_DIGEST if row is None else row.digest)
    if row is None or not is_same or row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= datetime.now(UTC)):
        return None
    return Principal(row.name, row.name, frozenset(map(Scope, row.scopes)), key.id)


def owner_of(session: Session, key_id: str) -> Principal:
    """Return whose key it is, valid or not; raises NotFoundError."""
    row = session.get(ApiKeyRow, key_id)
    if row is None:
        raise _unknown(key_id)
    return Principal(row.name, row.name, frozenset(map(Scope, row.scopes)), row.id)


def is_live(session: Session, key_id: str) -> bool:
    """Return whether a key is neither expired nor revoked."""
    return bool(session.scalar(select(exists().where(ApiKeyRow.id == key_id, *live(datetime.now(UTC))))))


def used(session: Session, key_id: str) -> None:
    """Write a key's last use, unless another process has just written it."""
    moment = datetime.now(UTC)
    is_due = or_(ApiKeyRow.last_used_at.is_(None), ApiKeyRow.last_used_at < moment - timedelta(seconds=LAST_USE_SECONDS))
    session.execute(update(ApiKeyRow).where(ApiKeyRow.id == key_id, is_due).values(last_used_at=moment))


def revoke(session: Session, key_id: str) -> ApiKeyRow:
    """Revoke a key for good; raises NotFoundError. Repeating it changes nothing."""
    session.execute(update(ApiKeyRow).where(ApiKeyRow.id == key_id, ApiKeyRow.revoked_at.is_(None)).values(revoked_at=now(session)))
    row = session.get(ApiKeyRow, key_id, populate_existing=True)
    if row is None:
        raise _unknown(key_id)
    return row


def page(session: Session, after: tuple[datetime, str] | None, limit: int) -> ListingPage[ApiKeyRow, tuple[datetime, str]]:
    """Return one page of keys, oldest first, after a creation time and id."""
    order = (ApiKeyRow.created_at, ApiKeyRow.id)
    statement = select(ApiKeyRow).order_by(*order).limit(limit + 1)
    found = session.scalars(statement if after is None else statement.where(tuple_(*order) > tuple_(*after))).all()
    more = len(found) > limit
    return ListingPage(tuple(found[:limit]), (found[limit - 1].created_at, found[limit - 1].id) if more else None)


def any_exists(session: Session | Connection) -> bool:
    """Return whether any key was ever made, expired and revoked ones included."""
    return bool(session.execute(ANY).scalar_one())


def _unknown(key_id: str) -> NotFoundError:
    return NotFoundError(f"There is no key {key_id!r}.", cure="`glossator keys list` shows the id of each key.")


def live(moment: datetime) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions of a key that is neither expired nor revoked."""
    return ApiKeyRow.revoked_at.is_(None), or_(ApiKeyRow.expires_at.is_(None), ApiKeyRow.expires_at > moment)
