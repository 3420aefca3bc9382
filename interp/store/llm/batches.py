"""Store batches at endpoints, which a restarted worker reads instead of paying again."""

from dataclasses import asdict

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from interp.llm.call_store import PendingBatch
from interp.store.db.bulk import upsert
from interp.store.db.dialect import now
from interp.store.db.tables import LlmBatchRow


def pending(session: Session, chunk_id: str, base_url: str, model: str) -> list[PendingBatch]:
    """Return the chunk's batches that were submitted and not read yet, oldest first."""
    statement = (
        select(LlmBatchRow)
        .where(LlmBatchRow.chunk_id == chunk_id, LlmBatchRow.ended_at.is_(None), LlmBatchRow.base_url == base_url, LlmBatchRow.model == model)
        .order_by(LlmBatchRow.created_at, LlmBatchRow.id)
    )
    return [PendingBatch(row.id, row.base_url, row.model, tuple(row.keys)) for row in session.scalars(statement)]


def submitted(session: Session, job_id: str, chunk_id: str, batch: PendingBatch) -> None:
    """Write a batch that the endpoint has accepted."""
    row = asdict(batch) | {"job_id": job_id, "chunk_id": chunk_id, "created_at": now(session), "ended_at": None}
    upsert(session, LlmBatchRow, [row], keys=["job_id", "id"])


def ended(session: Session, job_id: str, batch_id: str) -> None:
    """Mark a batch ended: each answer is recorded, or can never be read."""
    statement = update(LlmBatchRow).where(LlmBatchRow.job_id == job_id, LlmBatchRow.id == batch_id, LlmBatchRow.ended_at.is_(None))
    session.execute(statement.values(ended_at=now(session)).execution_options(synchronize_session=False))
