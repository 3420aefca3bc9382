"""Read exports."""

from pydantic import AwareDatetime, TypeAdapter

from api.reads import cursors, pages
from api.schemas.exports import ExportAnswer, ExportDetail, ExportPage
from interp.domain.access import Principal
from interp.store import exports as stored
from interp.store.db.engine import Session
from interp.store.db.tables import ExportRow
from interp.store.exports import ExportStatus

PLACE = TypeAdapter(tuple[AwareDatetime, cursors.Words])


def exports(session: Session, caller: Principal, cursor: str | None, limit: int) -> ExportPage:
    """Return a page of the exports that the caller sees, newest first; raises CursorInvalidError."""
    listing = {"of": "exports"}
    after = cursors.decode(listing, cursor, PLACE) if cursor else None
    found = stored.page(session, caller, after, limit + 1)
    place = (found[limit - 1].created_at.isoformat(), found[limit - 1].id) if len(found) > limit else None
    return pages.build(ExportPage, found[:limit], lambda rows: [export_answer(row) for row in rows], lambda row: row.id, listing, place)


def export(session: Session, caller: Principal, export_id: str) -> ExportDetail:
    """Return one export with its manifest; raises NotFoundError."""
    row = stored.get(session, caller, export_id)
    return ExportDetail(**export_answer(row).model_dump(), manifest=row.manifest)


def export_answer(row: ExportRow) -> ExportAnswer:
    return ExportAnswer.of(
        row,
        format=str(row.request.get("format")),
        dictionary=str(row.request.get("dictionary")),
        bytes=row.size,
        content=f"/v1/exports/{row.id}/content" if row.status == ExportStatus.COMPLETED else None,
    )
