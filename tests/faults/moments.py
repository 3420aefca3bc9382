"""When a fault strikes: moments that are told by the state of the database, drawn by chance from a seed."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from random import Random

from sqlalchemy import Engine, func, select

from interp.domain.lifecycle import JOB_ENDS, ChunkStatus, Queue, Stage
from interp.store.db.engine import snapshot
from interp.store.db.tables import ChunkRow, JobRow
from tests.faults.waiting import until

GPU_STAGES = (Stage.PREPARE, Stage.COLLECT, Stage.MERGE)
LLM_STAGES = (Stage.EXPLAIN, Stage.SCORE, Stage.SUMMARISE)
ALL_STAGES = (*GPU_STAGES, *LLM_STAGES)
# Chunks of the job last up to a quarter of a second or so: a moment within one, or between two.
LONGEST_AFTER = 0.25


@dataclass(frozen=True, slots=True)
class Moment:
    """When a share of a stage's chunks has been begun, and then so many seconds more."""

    stage: Stage
    share: float
    after: float

    @classmethod
    def drawn(cls, random: Random, stages: Sequence[Stage]) -> "Moment":
        return cls(random.choice(stages), random.random(), random.random() * LONGEST_AFTER)

    def __str__(self) -> str:
        return f"{self.stage} {self.share:.0%} + {self.after * 1000:.0f} ms"

    def wait(self, engine: Engine, job_id: str) -> None:
        """Returns when it has come, or has been missed: the job is over already."""
        until(lambda: self._has_come(engine, job_id), f"{self.stage} to begin", every=0.05)
        time.sleep(self.after)

    def _has_come(self, engine: Engine, job_id: str) -> bool:
        with snapshot(engine) as session:
            of_stage = select(func.count()).where(ChunkRow.job_id == job_id, ChunkRow.stage == self.stage)
            total = session.scalar(of_stage) or 0
            begun = session.scalar(of_stage.where(ChunkRow.attempts > 0)) or 0
            status = session.scalar(select(JobRow.status).where(JobRow.id == job_id))
        return status in JOB_ENDS or (total > 0 and begun >= max(1, math.ceil(self.share * total)))


@dataclass(frozen=True, slots=True)
class Held:
    """A lease as it was at some moment."""

    chunk_id: str
    queue: Queue
    stage: Stage
    owner: str
    token: str


def leases(engine: Engine, job_id: str) -> list[Held]:
    """Who works on what just now."""
    columns = (ChunkRow.id, ChunkRow.queue, ChunkRow.stage, ChunkRow.lease_owner, ChunkRow.lease_token)
    with snapshot(engine) as session:
        rows = session.execute(select(*columns).where(ChunkRow.job_id == job_id, ChunkRow.status == ChunkStatus.LEASED)).all()
    return [Held(chunk_id, Queue(queue), Stage(stage), owner or "", token or "") for chunk_id, queue, stage, owner, token in rows]


@dataclass(frozen=True, slots=True)
class Lease:
    """A chunk's lease, if it has one."""

    status: str
    token: str | None
    expires_at: datetime | None


def lease_of(engine: Engine, chunk_id: str) -> Lease:
    """The chunk as it is now."""
    with snapshot(engine) as session:
        return Lease(*session.execute(select(ChunkRow.status, ChunkRow.lease_token, ChunkRow.lease_expires_at).where(ChunkRow.id == chunk_id)).one())


def status_of(engine: Engine, job_id: str) -> str:
    """The job's status."""
    with snapshot(engine) as session:
        return session.execute(select(JobRow.status).where(JobRow.id == job_id)).scalar_one()
