"""Read uploads."""

from pydantic import AwareDatetime, TypeAdapter

from api.reads import cursors, pages
from api.schemas.files import FileAnswer, FileContent, FileDetail, FilePage
from interp.domain.access import Principal
from interp.security.uploads import SCHEME
from interp.store import uploads
from interp.store.db.engine import Session
from interp.store.db.tables import UploadRow

PLACE = TypeAdapter(tuple[AwareDatetime, cursors.Words])


def files(session: Session, caller: Principal, digest: str | None, cursor: str | None, limit: int) -> FilePage:
    """Return a page of the uploads that the caller sees, newest first; raises CursorInvalidError."""
    listing = {"of": "files", "digest": digest}
    after = cursors.decode(listing, cursor, PLACE) if cursor else None
    found = uploads.page(session, caller, digest, after, limit + 1)
    place = (found[limit - 1].created_at.isoformat(), found[limit - 1].id) if len(found) > limit else None
    return pages.build(FilePage, found[:limit], lambda rows: [file_answer(row) for row in rows], lambda row: row.id, listing, place)


def file(session: Session, caller: Principal, file_id: str) -> FileDetail:
    """Return an upload with its files; raises NotFoundError."""
    row = uploads.get(session, caller, file_id)
    content = [FileContent(path=one.path, bytes=one.size, digest=one.digest) for one in uploads.files_of(session, file_id)]
    return FileDetail(**file_answer(row).model_dump(), content=content)


def file_answer(row: UploadRow) -> FileAnswer:
    return FileAnswer(
        id=row.id,
        uri=f"{SCHEME}{row.id}",
        name=row.name,
        kind="folder" if row.is_folder else "file",
        digest=row.digest,
        bytes=row.size,
        files=row.files,
        created_at=row.created_at,
        expires_at=row.expires_at,
    )
