"""What tests of the queue do over and over, each in a transaction of its own."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from interp.domain.job_warnings import JobWarning
from interp.domain.lifecycle import Queue
from interp.domain.spec import CorpusSpec, DictionarySpec, JobSpec, SubjectSpec
from interp.planning.plan import ChunkPlan
from interp.store.db.dialect import now
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import ChunkRow, WorkerRow
from interp.store.queue import chunks, completion, jobs
from interp.store.queue.chunks import Lease
from interp.store.queue.progress import JobProgress, progress

SPEC = JobSpec(subject=SubjectSpec(model="m"), dictionary=DictionarySpec(source="d"), corpus=CorpusSpec(path="c"))
SECONDS = 30.0


@dataclass(frozen=True)
class Checked:
    """Stands for a preflight."""

    n_features: int = 10
    identity: dict[str, Any] = field(default_factory=lambda: {"subject": "m", "dictionary": "d", "hook_point": "h"})
    warnings: Sequence[JobWarning] = ()
    corpus: dict[str, Any] | None = None
    fingerprint: str | None = None


def submit(engine: Engine, spec: JobSpec = SPEC, key: str | None = None) -> str:
    with transaction(engine) as session:
        return jobs.submit(session, spec, Checked(), key).id


def running(engine: Engine, *plans: ChunkPlan, spec: JobSpec = SPEC) -> str:
    """A job whose prepare chunk is done and planned these chunks."""
    job_id = submit(engine, spec)
    lease = take(engine, Queue.GPU)
    assert lease.job_id == job_id
    with transaction(engine) as session:
        jobs.start(session, job_id)
    with transaction(engine) as session:
        chunks.add(session, job_id, spec.priority, plans)
        completion.finish(session, lease, None)
    return job_id


def claim(engine: Engine, of: Queue, owner: str = "test", chunk_id: str | None = None, seconds: float = SECONDS) -> Lease | None:
    with transaction(engine) as session:
        return chunks.claim(session, of, owner, seconds, chunk_id)


def take(engine: Engine, of: Queue, seconds: float = SECONDS) -> Lease:
    """A chunk that is there to be claimed. Where a worker lives too, its own look may hold the job's row for a moment, which a claim passes over."""
    end = time.monotonic() + SECONDS
    while (lease := claim(engine, of, seconds=seconds)) is None:
        assert time.monotonic() < end, f"no chunk of {of} in {SECONDS:.0f} s"
        time.sleep(0.02)
    return lease


def finish(engine: Engine, lease: Lease) -> list[str]:
    with transaction(engine) as session:
        return completion.finish(session, lease, None)


def fail(engine: Engine, lease: Lease, max_attempts: int) -> None:
    with transaction(engine) as session:
        completion.fail(session, lease, {"code": "internal", "traceback": "..."}, max_attempts)


def statuses(engine: Engine, job_id: str) -> dict[str, str]:
    """Status of every chunk, by `stage:number`."""
    with snapshot(engine) as session:
        return {f"{chunk.stage}:{chunk.number}": chunk.status for chunk in session.scalars(select(ChunkRow).where(ChunkRow.job_id == job_id))}


def chunk(engine: Engine, chunk_id: str) -> ChunkRow:
    with snapshot(engine) as session:
        return session.get_one(ChunkRow, chunk_id)


def look(engine: Engine, job_id: str) -> JobProgress:
    with snapshot(engine) as session:
        return progress(session, job_id)


def heartbeat(session: Session, lease: Lease, seconds: float, units_done: int) -> bool:
    """Renew one lease; False when it is gone or the job is no longer to be worked on."""
    return bool(chunks.renew(session, [(lease, units_done)], seconds))


def workers_seen(engine: Engine, seconds: float) -> list[WorkerRow]:
    """The worker processes that were seen within the last `seconds`, by name."""
    with snapshot(engine) as session:
        since = now(session) - timedelta(seconds=seconds)
        return list(session.scalars(select(WorkerRow).where(WorkerRow.seen_at >= since).order_by(WorkerRow.name)))
