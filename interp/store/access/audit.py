"""Store and list the audit log: who changed what, when, from where, with which outcome."""

from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.store.db.bulk import insert
from interp.store.db.dialect import now
from interp.store.db.tables import AuditRow
from interp.store.db.text import storable
from interp.store.listings.keyset import ListingPage

# Longer paths are cut: only an unknown route takes one.
MAX_TARGET = 500


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One entry to write; the fields are those of `AuditRow`."""

    action: str
    target: str
    status: int
    who: str | None = None
    key_id: str | None = None
    address: str | None = None
    code: str | None = None
    request_id: str | None = None
    unlisted: int = 0


@dataclass(frozen=True, slots=True)
class AuditFilters:
    """What a listing of the log shows: all that is not filtered, between two times."""

    who: str | None = None
    action: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def write(session: Session, entry: AuditEntry) -> None:
    """Add an entry at the present time."""
    values = asdict(entry) | {"target": storable(entry.target[:MAX_TARGET]), "at": now(session)}
    session.execute(insert(session, AuditRow).values(values))


def page(session: Session, filters: AuditFilters, before: int | None, limit: int) -> ListingPage[AuditRow, int]:
    """Return one page of entries, newest first, before an id."""
    statement = select(AuditRow).order_by(AuditRow.id.desc()).limit(limit + 1)
    for column, value in ((AuditRow.who, filters.who), (AuditRow.action, filters.action)):
        if value is not None:
            statement = statement.where(column == value)
    if filters.since is not None:
        statement = statement.where(AuditRow.at >= filters.since)
    if filters.until is not None:
        statement = statement.where(AuditRow.at < filters.until)
    if before is not None:
        statement = statement.where(AuditRow.id < before)
    found = session.scalars(statement).all()
    return ListingPage(tuple(found[:limit]), found[limit - 1].id if len(found) > limit else None)
