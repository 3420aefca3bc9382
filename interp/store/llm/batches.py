"""Store batches at endpoints, which a restarted worker reads instead of paying again."""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Select, and_, func, select, tuple_, update
from sqlalchemy.orm import Session

from interp.domain.errors import NotFoundError
from interp.domain.lifecycle import JOB_ENDS, JobStatus
from interp.domain.spec import FILES
from interp.llm.call_store import UPLOADED, PendingBatch
from interp.store.db.bulk import upsert
from interp.store.db.dialect import is_postgresql, now
from interp.store.db.tables import JobRow, LlmBatchRow
from interp.store.listings.keyset import ListingPage

# Of a batch that is asked by files. One that was uploaded only is recorded under another id for a moment.
BY_FILES = and_(LlmBatchRow.base_url == FILES, LlmBatchRow.id.not_like(f"{UPLOADED}%"))
IS_OPEN = and_(LlmBatchRow.ended_at.is_(None), JobRow.status.not_in(JOB_ENDS))


@dataclass(frozen=True, slots=True)
class ExportableBatch:
    """A batch of a model asked by files; open while its results are waited for."""

    id: str
    job_id: str
    owner: str | None
    model: str
    questions: int
    is_open: bool
    created_at: datetime
    ended_at: datetime | None


def page(
    session: Session, job_id: str | None, is_open: bool | None, after: tuple[datetime, str] | None, limit: int
) -> ListingPage[ExportableBatch, tuple[datetime, str]]:
    """Return one page of batches asked by files, newest first, after a time and id."""
    order = (LlmBatchRow.created_at, LlmBatchRow.id)
    statement = _exportable(session).order_by(*(column.desc() for column in order)).limit(limit + 1)
    if job_id is not None:
        statement = statement.where(LlmBatchRow.job_id == job_id)
    if is_open is not None:
        statement = statement.where(IS_OPEN if is_open else ~IS_OPEN)
    if after is not None:
        statement = statement.where(tuple_(*order) < tuple_(*after))
    found = tuple(ExportableBatch(*row) for row in session.execute(statement))
    rows = found[:limit]
    return ListingPage(rows, (rows[-1].created_at, rows[-1].id) if len(found) > limit else None)


def get(session: Session, batch_id: str) -> ExportableBatch:
    """Return a batch asked by files, or raise NotFoundError."""
    row = session.execute(_exportable(session).where(LlmBatchRow.id == batch_id)).first()
    if row is None:
        raise NotFoundError(f"There is no batch {batch_id}.", cure="List them with `glossator batches list` (GET /v1/batches).", batch=batch_id)
    return ExportableBatch(*row)


def keys_of(session: Session, batch_id: str) -> frozenset[str]:
    """Return the `custom_id`s of the questions of a batch asked by files."""
    return frozenset(session.scalars(select(LlmBatchRow.keys).where(BY_FILES, LlmBatchRow.id == batch_id)).one())


def needed(session: Session, batch_ids: Collection[str]) -> dict[str, bool]:
    """Return whether the results of those batches that are recorded may still be read.

    Those of a job that failed or completed may, too, once it is retried.
    """
    ids = [name for batch_id in batch_ids for name in (batch_id, UPLOADED + batch_id)]
    is_needed = and_(LlmBatchRow.ended_at.is_(None), JobRow.status != JobStatus.CANCELLED)
    rows = select(LlmBatchRow.id, is_needed).join(JobRow, JobRow.id == LlmBatchRow.job_id)
    found: dict[str, bool] = {}
    for row_id, needed_now in session.execute(rows.where(LlmBatchRow.base_url == FILES, LlmBatchRow.id.in_(ids))):
        batch_id = row_id.removeprefix(UPLOADED)
        found[batch_id] = found.get(batch_id, False) or needed_now
    return found


def _exportable(session: Session) -> Select[str, str, str | None, str, int, bool, datetime, datetime | None]:
    """Select the columns of ExportableBatch; the database counts the questions, which may be thousands."""
    count = func.jsonb_array_length if is_postgresql(session) else func.json_array_length
    of = LlmBatchRow
    chosen = select(of.id, of.job_id, JobRow.owner, of.model, count(of.keys), IS_OPEN, of.created_at, of.ended_at)
    return chosen.join(JobRow, JobRow.id == of.job_id).where(BY_FILES)


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
