"""Store exports, and the leases of the processes that make them."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, delete, func, or_, select, true, tuple_, update
from sqlalchemy.orm import Session

from interp.domain.access import Principal
from interp.domain.errors import ConflictError, ExportsBusyError, NotFoundError
from interp.store.db.dialect import now, skip_locked
from interp.store.db.tables import ExportRow
from interp.store.queue.chunks import changed_rows

# Exports that an owner may have unfinished: each is a pass over the database.
MOST_OPEN = 10
# A process that was lost that often will be lost again.
MOST_ATTEMPTS = 3


class ExportStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


OPEN = (ExportStatus.QUEUED, ExportStatus.RUNNING)


@dataclass(frozen=True, slots=True)
class ExportLease:
    """The right to make an export, until it expires or another process has it."""

    id: str
    token: str
    request: dict[str, Any]


@dataclass(frozen=True, slots=True)
class MadeFile:
    """The file of an export in the artifact store."""

    name: str
    media_type: str
    size: int
    sha256: str


def submit(session: Session, owner: str | None, request: dict[str, Any], total: int | None) -> ExportRow:
    """Write an export to be made; raises ExportsBusyError."""
    mine = ExportRow.owner.is_(None) if owner is None else ExportRow.owner == owner
    if session.execute(select(func.count()).select_from(ExportRow).where(mine, ExportRow.status.in_(OPEN))).scalar_one() >= MOST_OPEN:
        raise ExportsBusyError(f"{MOST_OPEN} of your exports are not finished.", cure="Wait for one to finish, or delete one.")
    row = ExportRow(
        id=uuid.uuid4().hex,
        owner=owner,
        status=ExportStatus.QUEUED,
        request=request,
        features_total=total,
        features_done=0,
        attempts=0,
        created_at=now(session),
    )
    session.add(row)
    session.flush()
    return row


def get(session: Session, caller: Principal, export_id: str) -> ExportRow:
    """Return one export; raises NotFoundError, also for another owner's."""
    row = session.scalar(select(ExportRow).where(_seen_by(caller), ExportRow.id == export_id))
    if row is None:
        raise NotFoundError(f"There is no export {export_id}.", cure="Make it again with `glossator export` (POST /v1/exports).")
    return row


def page(session: Session, caller: Principal, after: tuple[datetime, str] | None, limit: int) -> list[ExportRow]:
    """Return some exports that the caller sees, newest first."""
    order = ExportRow.created_at, ExportRow.id
    statement = select(ExportRow).where(_seen_by(caller)).order_by(*(column.desc() for column in order)).limit(limit)
    return list(session.scalars(statement if after is None else statement.where(tuple_(*order) < tuple_(*after))))


def claim(session: Session, seconds: float) -> ExportLease | None:
    """Lease the export that waits longest, or whose process was lost; None without one."""
    moment = now(session)
    lost = (ExportRow.status == ExportStatus.RUNNING) & (ExportRow.lease_expires_at < moment)
    due = select(ExportRow).where(or_(ExportRow.status == ExportStatus.QUEUED, lost)).order_by(ExportRow.created_at, ExportRow.id).limit(1)
    row = session.scalars(skip_locked(due, of=ExportRow)).first()
    if row is None:
        return None
    row.status, row.lease_token, row.lease_expires_at = ExportStatus.RUNNING, str(uuid.uuid4()), moment + timedelta(seconds=seconds)
    row.attempts, row.features_done = row.attempts + 1, 0
    return ExportLease(row.id, row.lease_token, row.request)


def attempts(session: Session, lease: ExportLease) -> int:
    """Return how often the export was begun."""
    return session.execute(select(ExportRow.attempts).where(ExportRow.id == lease.id)).scalar_one()


def renew(session: Session, lease: ExportLease, done: int, seconds: float) -> bool:
    """Renew the lease and write the progress; return whether it is still held."""
    values = {"features_done": done, "lease_expires_at": now(session) + timedelta(seconds=seconds)}
    return _change(session, lease, values)


def give_back(session: Session, lease: ExportLease) -> None:
    """Let another process make the export: this one stops."""
    _change(session, lease, {"status": ExportStatus.QUEUED, "lease_token": None, "attempts": ExportRow.attempts - 1})


def complete(session: Session, lease: ExportLease, file: MadeFile, manifest: dict[str, Any], features: int, days: float | None) -> bool:
    """Mark an export complete; return whether the lease was still held."""
    values = {
        "status": ExportStatus.COMPLETED,
        "file_name": file.name,
        "media_type": file.media_type,
        "size": file.size,
        "sha256": file.sha256,
        "manifest": manifest,
        "features_done": features,
    }
    return _change(session, lease, values | _ended(session, days))


def fail(session: Session, lease: ExportLease, problem: dict[str, Any], days: float | None) -> bool:
    """Mark an export failed with a problem document."""
    return _change(session, lease, {"status": ExportStatus.FAILED, "error": problem} | _ended(session, days))


def remove(session: Session, caller: Principal, export_id: str) -> ExportRow:
    """Delete an export; raises NotFoundError, and ConflictError for another owner's."""
    row = get(session, caller, export_id)
    if not caller.may_change(row.owner):
        raise ConflictError(f"Export {export_id} is another's.", cure="Use a key of its owner, or one with the scope admin.")
    session.execute(delete(ExportRow).where(ExportRow.id == export_id).execution_options(synchronize_session=False))
    return row


def expired(session: Session, limit: int = 1000) -> list[str]:
    """Return some exports whose time is over."""
    statement = select(ExportRow.id).where(ExportRow.expires_at < now(session)).order_by(ExportRow.expires_at).limit(limit)
    return list(session.scalars(statement))


def forget(session: Session, ids: list[str]) -> None:
    """Delete exports, whose files are deleted already."""
    session.execute(delete(ExportRow).where(ExportRow.id.in_(ids)).execution_options(synchronize_session=False))


def unknown(session: Session, ids: list[str]) -> set[str]:
    """Return those ids that no export has."""
    return set(ids) - set(session.scalars(select(ExportRow.id).where(ExportRow.id.in_(ids))))


def _change(session: Session, lease: ExportLease, values: dict[str, Any]) -> bool:
    statement = update(ExportRow).where(ExportRow.id == lease.id, ExportRow.lease_token == lease.token).values(**values)
    return changed_rows(session.execute(statement.execution_options(synchronize_session=False))) == 1


def _ended(session: Session, days: float | None) -> dict[str, Any]:
    moment = now(session)
    return {"finished_at": moment, "lease_token": None, "expires_at": None if days is None else moment + timedelta(days=days)}


def _seen_by(caller: Principal) -> ColumnElement[bool]:
    return true() if caller.is_admin else ExportRow.owner == caller.owner
