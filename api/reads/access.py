"""Read and change keys, and read the audit log."""

from datetime import UTC, datetime
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

from api.reads import cursors, pages
from api.reads.cursors import WITHOUT_NUL
from api.schemas.access import AuditAnswer, AuditPage, KeyAnswer, KeyPage, KeyQuota, KeyUsage, KeyUsageAnswer, NewKeyAnswer, NewKeyRequest
from interp.domain.access import Principal, Scope
from interp.domain.errors import InputError
from interp.store.access import audit, keys, quotas
from interp.store.access.quotas import Quota, Usage
from interp.store.db.engine import Session
from interp.store.db.tables import ApiKeyRow, AuditRow
from interp.store.listings.queries import MAX_LIMIT

KEY_PLACE = TypeAdapter(tuple[AwareDatetime, cursors.Words])
AUDIT_PLACE = TypeAdapter(tuple[cursors.RowId])


class AuditQuery(BaseModel):
    """Filters of the audit log."""

    model_config = ConfigDict(extra="forbid")

    who: str | None = Field(default=None, min_length=1, max_length=255, pattern=WITHOUT_NUL, description="An owner's name.")
    action: str | None = Field(default=None, min_length=1, max_length=64, pattern=WITHOUT_NUL, description="An operation's name, as `submit_job`.")
    since: AwareDatetime | None = Field(default=None, description="Entries at this time and later.")
    until: AwareDatetime | None = Field(default=None, description="Entries before this time.")
    cursor: str | None = Field(default=None, max_length=2000, description="`next_cursor` of the page before, with the same filters.")
    limit: int = Field(default=50, ge=1, le=MAX_LIMIT, description="Rows per page.")


def create_key(session: Session, wanted: NewKeyRequest, created_by: str) -> NewKeyAnswer:
    """Write a key; raises InputError for a past end, or a first key without `admin`."""
    if wanted.expires_at is not None and wanted.expires_at <= datetime.now(UTC):
        raise InputError("The key would have ended already.", why=f"expires_at is {wanted.expires_at.isoformat()}.", cure="Give a later time.")
    if Scope.ADMIN not in wanted.scopes and not keys.any_exists(session):
        raise InputError(
            "The first key must have the scope `admin`.",
            why="From the first key on every request needs one, and nobody could make another.",
            cure="Make an admin's key first, and then this one.",
        )
    new = keys.create(session, wanted.name, wanted.scopes, created_by, wanted.expires_at)
    if wanted.quota != KeyQuota():
        set_quota(session, new.row.id, wanted.quota)
    return NewKeyAnswer.of(new.row, key=new.text, prefix=_prefix(new.row))


def set_quota(session: Session, key_id: str, quota: KeyQuota) -> None:
    """Set the whole quota of a key; raises NotFoundError."""
    quotas.set_quota(session, key_id, Quota(**quota.model_dump()))


def usage_of(session: Session, principal: Principal) -> KeyUsageAnswer:
    """Return what a caller may use, and uses."""
    key_id = principal.key_id
    quota, usage = (Quota(), Usage(0, 0, 0.0)) if key_id is None else (quotas.quota_of(session, key_id), quotas.usage_of(session, key_id))
    scopes = sorted(principal.granted)
    return KeyUsageAnswer(id=key_id, name=principal.name, scopes=scopes, quota=KeyQuota.of(quota), usage=KeyUsage.of(usage))


def usage_of_key(session: Session, key_id: str) -> KeyUsageAnswer:
    """Return what a key may use, and uses; raises NotFoundError."""
    return usage_of(session, keys.owner_of(session, key_id))


def revoke_key(session: Session, key_id: str) -> KeyAnswer:
    """Revoke a key for good; raises NotFoundError."""
    return _key_answer(keys.revoke(session, key_id))


def key_page(session: Session, cursor: str | None, limit: int) -> KeyPage:
    """Return one page of keys, oldest first; raises CursorInvalidError."""
    listing = {"of": "keys"}
    page = keys.page(session, cursors.decode(listing, cursor, KEY_PLACE) if cursor else None, limit)
    place = None if page.next is None else (page.next[0].isoformat(), page.next[1])
    return pages.build(KeyPage, page.rows, lambda rows: list(map(_key_answer, rows)), lambda row: row.id, listing, place)


def audit_page(session: Session, query: AuditQuery) -> AuditPage:
    """Return one page of the audit log, newest first; raises CursorInvalidError."""
    listing: dict[str, Any] = {"of": "audit"} | query.model_dump(mode="json", exclude={"cursor", "limit"})
    before = cursors.decode(listing, query.cursor, AUDIT_PLACE)[0] if query.cursor else None
    page = audit.page(session, audit.AuditFilters(query.who, query.action, query.since, query.until), before, query.limit)
    place = None if page.next is None else (page.next,)
    return pages.build(AuditPage, page.rows, lambda rows: list(map(_audit_answer, rows)), lambda row: row.id, listing, place)


def _key_answer(row: ApiKeyRow) -> KeyAnswer:
    return KeyAnswer.of(row, prefix=_prefix(row))


def _prefix(row: ApiKeyRow) -> str:
    return f"gl_{row.id}"


def _audit_answer(row: AuditRow) -> AuditAnswer:
    return AuditAnswer.of(row, key=row.key_id)
