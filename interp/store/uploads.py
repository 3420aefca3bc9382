"""Store uploads: owners, files, and the objects of the artifact store.

Files with one digest share an object. Whoever adds or deletes uploads does so alone, in short transactions, so that a quota holds and no object is
deleted that another upload has just taken.
"""

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Text, cast, delete, exists, func, select, text, true, tuple_
from sqlalchemy.orm import Session

from interp.domain.access import Principal
from interp.domain.errors import ConflictError, FileMissingError, NotFoundError, UploadQuotaError, UploadsFullError
from interp.domain.lifecycle import JOB_ENDS
from interp.store.db.bulk import insert
from interp.store.db.dialect import is_postgresql, now
from interp.store.db.tables import JobRow, UploadBlobRow, UploadFileRow, UploadRow

MOST_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of an upload: relative path, digest, bytes, and the object with its content."""

    path: str
    digest: str
    size: int
    object: str


@dataclass(frozen=True, slots=True)
class Quota:
    """Limits in bytes of an owner's uploads and of all, and their days."""

    owner_bytes: int
    total_bytes: int
    keep_days: float | None

    def expiry(self, moment: datetime) -> datetime | None:
        return None if self.keep_days is None else moment + timedelta(days=self.keep_days)


@dataclass(frozen=True, slots=True)
class Saved:
    """An upload's row, and the objects that nothing needs: others have the same content."""

    row: UploadRow
    unneeded: tuple[str, ...]


def digest_of_files(files: Sequence[StoredFile], is_folder: bool) -> str:
    """Return the digest of a file or folder.

    That of a folder is the sha256 of its sorted lines `path NUL size NUL digest LF`.
    """
    if not is_folder:
        return files[0].digest
    lines = sorted(f"{file.path}\0{file.size}\0{file.digest}\n".encode() for file in files)
    return hashlib.sha256(b"".join(lines)).hexdigest()


def check_room(session: Session, owner: str | None, nbytes: int, quota: Quota) -> None:
    """Raise UploadQuotaError or UploadsFullError unless so many bytes more fit."""
    held = session.scalar(select(func.coalesce(func.sum(UploadRow.size), 0)).where(_of(owner))) or 0
    if held + nbytes > quota.owner_bytes:
        raise UploadQuotaError(
            f"{nbytes:,} bytes more are beyond the quota of uploads.",
            why=f"{held:,} of {quota.owner_bytes:,} bytes are used.",
            cure="Delete uploads that are not needed (/v1/files lists them), or raise GLOSSATOR_UPLOADS_OWNER_MAX_BYTES.",
        )
    total = session.scalar(select(func.coalesce(func.sum(UploadBlobRow.size), 0))) or 0
    if total + nbytes > quota.total_bytes:
        raise UploadsFullError(
            f"There is no room for {nbytes:,} bytes more of uploads.",
            why=f"All uploads together have {total:,} of {quota.total_bytes:,} bytes.",
            cure="Delete uploads that are not needed, or raise GLOSSATOR_UPLOADS_TOTAL_MAX_BYTES where the server starts.",
        )


def save(session: Session, owner: str | None, name: str, is_folder: bool, files: Sequence[StoredFile], quota: Quota) -> Saved:
    """Write an upload, or return the owner's of this name and content.

    Raises UploadQuotaError and UploadsFullError.
    """
    _alone(session)
    moment, digest, objects = now(session), digest_of_files(files, is_folder), tuple(file.object for file in files)
    known = session.scalar(select(UploadRow).where(_of(owner), UploadRow.digest == digest, UploadRow.name == name, UploadRow.is_folder == is_folder))
    if known is not None:
        expiry = quota.expiry(moment)
        # A file that was sent as a part, too, is kept as the file.
        known.expires_at = None if known.expires_at is None or expiry is None else max(known.expires_at, expiry)
        return Saved(known, objects)
    check_room(session, owner, sum(file.size for file in files), quota)
    row = UploadRow(
        id=uuid.uuid4().hex,
        owner=owner,
        name=name,
        is_folder=is_folder,
        digest=digest,
        size=sum(file.size for file in files),
        files=len(files),
        created_at=moment,
        expires_at=quota.expiry(moment),
    )
    session.add(row)
    session.flush()
    for start in range(0, len(files), MOST_AT_ONCE):
        some = files[start : start + MOST_AT_ONCE]
        blobs = {file.digest: {"digest": file.digest, "object": file.object, "size": file.size} for file in some}
        session.execute(insert(session, UploadBlobRow).on_conflict_do_nothing(), list(blobs.values()))
        session.execute(insert(session, UploadFileRow), [{"upload_id": row.id, "path": file.path, "digest": file.digest} for file in some])
    used = _objects(session, [file.digest for file in files])
    return Saved(row, tuple(object_ for object_ in objects if object_ not in used))


def page(session: Session, caller: Principal, digest: str | None, after: tuple[datetime, str] | None, limit: int) -> list[UploadRow]:
    """Return the uploads that the caller sees, newest first."""
    rows = select(UploadRow).where(_seen_by(caller)).order_by(UploadRow.created_at.desc(), UploadRow.id.desc()).limit(limit)
    if digest is not None:
        rows = rows.where(UploadRow.digest == digest)
    if after is not None:
        rows = rows.where(tuple_(UploadRow.created_at, UploadRow.id) < tuple_(*after))
    return list(session.scalars(rows))


def get(session: Session, caller: Principal, upload_id: str) -> UploadRow:
    """Return one upload; raises NotFoundError, also for another owner's."""
    row = session.scalar(select(UploadRow).where(_seen_by(caller), UploadRow.id == upload_id))
    if row is None:
        raise NotFoundError(f"There is no upload {upload_id}.", cure="/v1/files lists uploads; `glossator submit` makes them.")
    return row


def files_of(session: Session, upload_id: str) -> list[StoredFile]:
    """Return an upload's files by path; none for one that is gone."""
    found = (
        select(UploadFileRow.path, UploadBlobRow.digest, UploadBlobRow.size, UploadBlobRow.object)
        .join(UploadBlobRow, UploadBlobRow.digest == UploadFileRow.digest)
        .where(UploadFileRow.upload_id == upload_id)
        .order_by(UploadFileRow.path)
    )
    return [StoredFile(*row) for row in session.execute(found)]


@dataclass(frozen=True, slots=True)
class NamedFiles:
    """What a worker needs of an upload."""

    name: str
    is_folder: bool
    files: tuple[StoredFile, ...]


def named(session: Session, upload_id: str) -> NamedFiles | None:
    """Return any owner's upload for an admitted job; None for one that is gone."""
    row = session.get(UploadRow, upload_id)
    return None if row is None else NamedFiles(row.name, row.is_folder, tuple(files_of(session, upload_id)))


def hold(session: Session, caller: Principal, upload_ids: Sequence[str], keep_days: float | None) -> None:
    """Keep uploads for a job that is written in this transaction; raises FileMissingError.

    The job's own row keeps them from then on: `in_use`.
    """
    if not upload_ids:
        return
    rows = session.scalars(select(UploadRow).where(_seen_by(caller), UploadRow.id.in_(upload_ids)).order_by(UploadRow.id).with_for_update()).all()
    _check_all(upload_ids, [row.id for row in rows])
    for row in rows:
        row.expires_at = Quota(0, 0, keep_days).expiry(now(session))


def check_there(session: Session, caller: Principal, upload_ids: Sequence[str]) -> None:
    """Raise FileMissingError unless the caller sees all of them."""
    _check_all(upload_ids, session.scalars(select(UploadRow.id).where(_seen_by(caller), UploadRow.id.in_(upload_ids))).all())


def _check_all(wanted: Sequence[str], found: Sequence[str]) -> None:
    if missing := sorted(set(wanted) - set(found)):
        raise FileMissingError(f"There is no upload {missing[0]}.", why="It has expired, was deleted, or is another's.", cure="Upload it again.")


def remove(session: Session, caller: Principal, upload_id: str) -> tuple[str, ...]:
    """Delete an upload; return the objects that nothing needs any more.

    Raises NotFoundError, and ConflictError while a job needs it.
    """
    _alone(session)
    row = get(session, caller, upload_id)
    if job := session.scalar(select(JobRow.id).where(_open_and_names(upload_id)).limit(1)):
        raise ConflictError(f"The job {job} needs the upload {upload_id}.", cure=f"Wait for its end, or cancel it with `glossator job cancel {job}`.")
    return _delete(session, [row.id])


def remove_parts(session: Session, upload_ids: Sequence[str]) -> tuple[str, ...]:
    """Delete uploads that another one replaces, but those that a job needs.

    Returns the objects that nothing needs any more.
    """
    if not upload_ids:
        return ()
    _alone(session)
    return _delete(session, [upload_id for upload_id in set(upload_ids) if not session.scalar(select(exists().where(_open_and_names(upload_id))))])


def remove_expired(session: Session) -> tuple[int, tuple[str, ...]]:
    """Delete expired uploads that no open job needs.

    Returns their number, and the objects that nothing needs any more.
    """
    _alone(session)
    old = session.scalars(select(UploadRow.id).where(UploadRow.expires_at < now(session)).order_by(UploadRow.id).limit(MOST_AT_ONCE))
    going = [upload_id for upload_id in old if not session.scalar(select(exists().where(_open_and_names(upload_id))))]
    return len(going), _delete(session, going)


def count_expired(session: Session) -> int:
    """Return the number of expired uploads, those that open jobs need included."""
    return session.scalar(select(func.count()).select_from(UploadRow).where(UploadRow.expires_at < now(session))) or 0


def unknown_ids(session: Session, upload_ids: Sequence[str]) -> set[str]:
    """Return those of some ids that are no upload's."""
    return set(upload_ids) - set(session.scalars(select(UploadRow.id).where(UploadRow.id.in_(upload_ids))))


def unknown_objects(session: Session, objects: Sequence[str]) -> set[str]:
    """Return those of some objects that hold no upload's content."""
    return set(objects) - set(session.scalars(select(UploadBlobRow.object).where(UploadBlobRow.object.in_(objects))))


def _delete(session: Session, upload_ids: Sequence[str]) -> tuple[str, ...]:
    digests = set(session.scalars(select(UploadFileRow.digest).where(UploadFileRow.upload_id.in_(upload_ids)).distinct()))
    session.execute(delete(UploadRow).where(UploadRow.id.in_(upload_ids)))
    unneeded: list[str] = []
    for some in _parts(sorted(digests)):
        unused = UploadBlobRow.digest.in_(some) & ~exists().where(UploadFileRow.digest == UploadBlobRow.digest)
        unneeded += session.scalars(delete(UploadBlobRow).where(unused).returning(UploadBlobRow.object))
    return tuple(unneeded)


def _objects(session: Session, digests: Sequence[str]) -> set[str]:
    return {found for some in _parts(digests) for found in session.scalars(select(UploadBlobRow.object).where(UploadBlobRow.digest.in_(some)))}


def _parts(values: Sequence[str]) -> list[Sequence[str]]:
    return [values[start : start + MOST_AT_ONCE] for start in range(0, len(values), MOST_AT_ONCE)]


def _of(owner: str | None) -> ColumnElement[bool]:
    return UploadRow.owner.is_(None) if owner is None else UploadRow.owner == owner


def _seen_by(caller: Principal) -> ColumnElement[bool]:
    return true() if caller.is_admin else _of(caller.owner)


def _open_and_names(upload_id: str) -> ColumnElement[bool]:
    return JobRow.status.not_in(JOB_ENDS) & cast(JobRow.spec, Text).contains(f"upload://{upload_id}")


def _alone(session: Session) -> None:
    """Wait for other writers of uploads; a transaction of SQLite is alone anyway."""
    if is_postgresql(session):
        session.execute(text("LOCK TABLE uploads IN SHARE ROW EXCLUSIVE MODE"))
