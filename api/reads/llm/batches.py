"""Read batches that a runner without a server is asked by."""

from typing import Literal

from pydantic import AwareDatetime, TypeAdapter

from api.reads import cursors, pages
from api.schemas.llm.batches import BatchAnswer, BatchPage
from interp.files.artifact_store import Store
from interp.llm.transports.batch_files import with_results
from interp.store.db.engine import Session
from interp.store.llm import batches as stored
from interp.store.llm.batches import ExportableBatch

PLACE = TypeAdapter(tuple[AwareDatetime, cursors.Words])
BatchStatus = Literal["open", "ended"]


def batches(session: Session, store: Store, job_id: str | None, status: BatchStatus | None, cursor: str | None, limit: int) -> BatchPage:
    """Return one page of batches, newest first; raises CursorInvalidError."""
    listing = {"of": "batches", "job": job_id, "status": status}
    after = cursors.decode(listing, cursor, PLACE) if cursor else None
    found = stored.page(session, job_id, None if status is None else status == "open", after, limit)
    place = None if found.next is None else (found.next[0].isoformat(), found.next[1])
    ready = with_results(store)
    return pages.build(BatchPage, found.rows, lambda rows: [batch_answer(row, row.id in ready) for row in rows], lambda row: row.id, listing, place)


def batch_answer(batch: ExportableBatch, has_results: bool) -> BatchAnswer:
    status: BatchStatus = "open" if batch.is_open else "ended"
    return BatchAnswer.of(batch, status=status, has_results=has_results and batch.ended_at is None, requests=f"/v1/batches/{batch.id}/requests")
