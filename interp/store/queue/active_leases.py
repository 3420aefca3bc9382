"""Who works on what at this moment: read only, for tools that look on."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.domain.lifecycle import ChunkStatus, Stage
from interp.store.db.tables import ChunkRow


@dataclass(frozen=True)
class ActiveLease:
    """A chunk that is being worked on, and its lease's owner."""

    chunk_id: str
    stage: Stage
    number: int
    owner: str


def held(session: Session, job_id: str, stage: Stage) -> list[ActiveLease]:
    """The job's leased chunks of one stage, by number."""
    statement = (
        select(ChunkRow.id, ChunkRow.stage, ChunkRow.number, ChunkRow.lease_owner)
        .where(ChunkRow.job_id == job_id, ChunkRow.stage == stage, ChunkRow.status == ChunkStatus.LEASED, ChunkRow.lease_owner.is_not(None))
        .order_by(ChunkRow.number)
    )
    return [ActiveLease(row[0], Stage(row[1]), row[2], str(row[3])) for row in session.execute(statement)]


def repeated(session: Session, job_id: str) -> dict[str, int]:
    """How often chunks of the job were begun again, by `stage number`, where they were."""
    statement = (
        select(ChunkRow.stage, ChunkRow.number, ChunkRow.attempts)
        .where(ChunkRow.job_id == job_id, ChunkRow.attempts > 1)
        .order_by(ChunkRow.stage, ChunkRow.number)
    )
    return {f"{stage} {number}": attempts - 1 for stage, number, attempts in session.execute(statement)}
