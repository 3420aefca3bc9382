"""Progress of a job is what counting its chunks would say, after any history, on both databases."""

import random
from collections import Counter
from collections.abc import Callable

import pytest
from sqlalchemy import Engine, select, update

from interp.domain.errors import ConflictError, LeaseLostError
from interp.domain.lifecycle import CHUNK_ENDS, CHUNK_OPEN, ChunkStatus, Queue, Stage
from interp.planning.plan import ChunkPlan
from interp.store import migrate
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import ChunkRow
from interp.store.queue import chunks, completion, jobs
from interp.store.queue.progress import StageProgress
from tests.store import steps

PLANS = (
    *(ChunkPlan(Stage.COLLECT, number, 100) for number in range(3)),
    *(ChunkPlan(Stage.MERGE, number, 5, {}, Stage.COLLECT) for number in range(2)),
    *(ChunkPlan(Stage.EXPLAIN, number, 5, {"features": [[number * 5, number * 5 + 5]]}, f"merge:{number}") for number in range(2)),
    ChunkPlan(Stage.SUMMARISE, 0, 1, {}, Stage.EXPLAIN),
)


class Watched:
    """One job, whatever is done to it. Remembers the first start of each stage, which its chunks forget when they are taken again."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.job_id = engine, steps.running(engine, *PLANS)
        self.leases: list[chunks.Lease] = []
        self.first: dict[str, object] = {}

    def counted(self) -> list[StageProgress]:
        with snapshot(self.engine) as session:
            rows = list(session.scalars(select(ChunkRow).where(ChunkRow.job_id == self.job_id)))
        found = []
        for stage in Stage:
            of = [row for row in rows if row.stage == stage]
            starts = [row.started_at for row in of if row.started_at and (row.status in CHUNK_ENDS or row.status == ChunkStatus.LEASED)]
            ended = [row.finished_at for row in of if row.finished_at]
            finished = None if any(row.status in CHUNK_OPEN for row in of) else max(ended, default=None)
            done, total = sum(row.units_done for row in of), sum(row.units_total for row in of)
            if of:
                unit = {"collect": "tokens", "prepare": "percent", "summarise": "chunks"}.get(stage, "features")
                found.append(StageProgress(stage, unit, done, total, Counter(row.status for row in of), min(starts, default=None), finished, 0, None))
        return found

    def agrees(self) -> None:
        told = steps.look(self.engine, self.job_id).stages
        for kept, counted in zip(told, self.counted(), strict=True):
            assert (kept.stage, kept.unit, kept.done, kept.total) == (counted.stage, counted.unit, counted.done, counted.total)
            assert kept.chunks == counted.chunks, kept.stage
            assert kept.finished_at == counted.finished_at, kept.stage
            if counted.started_at is not None:
                assert kept.started_at is not None
                assert kept.started_at <= counted.started_at, "the first start stays, though the chunk was taken again"

    def take(self, draw: random.Random) -> None:
        lease = steps.claim(self.engine, draw.choice((Queue.GPU, Queue.LLM)))
        if lease is not None:
            self.leases.append(lease)

    def work(self, draw: random.Random) -> None:
        for lease in self.leases[-1:]:
            with transaction(self.engine) as session:
                steps.heartbeat(session, lease, 30, draw.randrange(lease.units + 1))

    def end(self, draw: random.Random) -> None:
        if not self.leases:
            return
        lease = self.leases.pop(draw.randrange(len(self.leases)))
        how: Callable[..., object] = draw.choice((completion.finish, completion.finish, completion.fail, completion.hand_back))
        given = {completion.finish: (None,), completion.fail: ({"code": "x"}, draw.choice((1, 9))), completion.hand_back: ()}[how]
        try:
            with transaction(self.engine) as session:
                how(session, lease, *given)
        except LeaseLostError:
            pass  # its job was over

    def retry(self, _draw: random.Random) -> None:
        try:
            with transaction(self.engine) as session:
                jobs.retry(session, self.job_id)
        except ConflictError:
            pass  # nothing has failed


@pytest.mark.parametrize("seed", range(8))
def test_progress_is_what_counting_says(engine: Engine, seed: int) -> None:
    draw, job = random.Random(seed), Watched(engine)
    job.agrees()
    for _ in range(60):
        draw.choice((job.take, job.take, job.work, job.end, job.end, job.retry))(draw)
        job.agrees()


def test_a_job_that_is_cancelled(engine: Engine) -> None:
    job = Watched(engine)
    job.take(random.Random(1))
    with transaction(engine) as session:
        jobs.cancel(session, job.job_id)
    job.agrees()


def test_sums_of_jobs_that_were_there_before_are_made_by_the_migration(engine: Engine, database_url: str) -> None:
    job = Watched(engine)
    draw = random.Random(3)
    for _ in range(12):
        draw.choice((job.take, job.end, job.work))(draw)
    before = [(stage.stage, stage.done, stage.chunks, stage.started_at, stage.finished_at) for stage in steps.look(engine, job.job_id).stages]
    engine.dispose()
    migrate.downgrade(database_url, "0004")
    with transaction(engine) as session:  # the triggers of before are there again
        session.execute(update(ChunkRow).where(ChunkRow.status == ChunkStatus.READY).values(status=ChunkStatus.WAITING))
        session.execute(
            update(ChunkRow).where(ChunkRow.status == ChunkStatus.WAITING, ChunkRow.stage == Stage.COLLECT).values(status=ChunkStatus.READY)
        )
    migrate.upgrade(database_url)
    job.agrees()
    after = [(stage.stage, stage.done, stage.chunks, stage.started_at, stage.finished_at) for stage in steps.look(engine, job.job_id).stages]
    assert after == before
