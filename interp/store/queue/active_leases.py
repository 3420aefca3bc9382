"""Who works on what at this moment: read only, for tools that look on."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from interp.domain.lifecycle import ChunkStatus, Stage
from interp.store.db.tables import Chunk


@dataclass(frozen=True)
class Held:
    """A chunk that is being worked on, and its lease's owner."""

    chunk_id: str
    stage: Stage
    number: int
    owner: str


def held(session: Session, job_id: str, stage: Stage) -> list[Held]:
    """The job's leased chunks of one stage, by number."""
    statement = (
        select(Chunk.id, Chunk.stage, Chunk.number, Chunk.lease_owner)
        .where(Chunk.job_id == job_id, Chunk.stage == stage, Chunk.status == ChunkStatus.LEASED, Chunk.lease_owner.is_not(None))
        .order_by(Chunk.number)
    )
    return [Held(row[0], Stage(row[1]), row[2], str(row[3])) for row in session.execute(statement)]


def repeated(session: Session, job_id: str) -> dict[str, int]:
    """How often chunks of the job were begun again, by `stage number`, where they were."""
    statement = (
        select(Chunk.stage, Chunk.number, Chunk.attempts).where(Chunk.job_id == job_id, Chunk.attempts > 1).order_by(Chunk.stage, Chunk.number)
    )
    return {f"{stage} {number}": attempts - 1 for stage, number, attempts in session.execute(statement)}
