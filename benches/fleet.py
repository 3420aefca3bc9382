"""Measure how busy the queue keeps 64 workers, and how long a job of ten features waits beside jobs of a million.

    python -m benches.fleet --json

Simulated workers (`benches/simulated.py`) take chunks through the real queue on PostgreSQL and Redis: claim, lease, heartbeats, finish,
notifications, upkeep. A quarter are gpu workers, the others llm workers. Their work is a pause, drawn from what a fleet with GPUs and a hosted
language model would need: two minutes per corpus shard, half a minute to explain 64 features, one minute to score them. `--speed` divides these
times, and the time that a job may wait for a worker that prefers its loaded models. Claims, ends and notifications are that many times more
frequent, so their cost weighs that much more. Heartbeats, progress and checks for cancellation keep their interval. All figures are seconds of wall
clock, not scaled back.

- standing   two jobs of a million features (one whose evidence exists: 31,250 llm chunks; one to be collected) that never finish in the window;
- middling   a job of 4,096 features every twentieth of the window, through all stages, on the large jobs' models;
- small      jobs of ten features, every fortieth of it: one on the large jobs' models, the next on models that no worker has loaded.

`utilisation` is the share of the window in which workers had a chunk (`opening`: the part spent on loading models), over the fleet and per queue.
`gap_ms` is the time from the end of a chunk's work to the beginning of the worker's next, `gap_ms_of` the medians of its parts: writing the end,
notifying workers, and claiming the next chunk. `small_wait_s` is a small job's time beyond its own six chunks; `small_unfinished` counts those
submitted in the first half of the window that had not finished when it closed. Without `--database-url` and `--broker-url`, private servers are
started from this machine's binaries.
"""

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, func, make_url, select, text

from api.demo.local_servers import LocalPostgres, LocalRedis
from benches.simulated import COLLECTED, SHARD_TOKENS, Member, Served, identity_of, live
from interp.config.settings import Settings
from interp.domain.job_warnings import JobWarning
from interp.domain.lifecycle import ChunkStatus, JobStatus, Queue
from interp.domain.spec import CorpusSpec, DictionarySpec, JobSpec, SubjectSpec
from interp.store import migrate
from interp.store.db.engine import make_engine, snapshot, transaction
from interp.store.db.tables import ChunkRow, JobRow
from interp.store.queue import jobs
from workers.maintenance.scheduler import MaintenanceThreads
from workers.wakeup import notify

WORKERS_A_PROCESS = 16
MILLION, MIDDLING, SMALL = 1_000_000, 4_096, 10
BIG_MODELS, OTHER_MODELS = "big", "other"
# Small jobs in a window. As the default of the settings, before it is divided by the speed.
STEPS, RESIDENCY_SECONDS = 40, 60.0
START_SECONDS = 120.0


@dataclass(frozen=True)
class Facts:
    """Stands for a preflight."""

    n_features: int
    identity: dict[str, Any]
    warnings: Sequence[JobWarning] = ()
    corpus: dict[str, Any] | None = None
    fingerprint: str | None = None


@dataclass(frozen=True)
class SmallJob:
    """A job of ten: when it was submitted, and how long it took; None where it was not done in the end."""

    id: str
    submitted: float
    seconds: float | None


@dataclass(frozen=True)
class Observed:
    """A window of the fleet's life, all chunks that were worked on (before and after it, too), and the jobs beside each other in it."""

    opened: float
    closed: float
    served: list[Served]
    million: set[str]
    small: list[SmallJob]
    cpu: float

    def inside(self, one: Served) -> float:
        """Seconds of the window that a chunk was in work."""
        return max(0.0, min(one.ended, self.closed) - max(one.begun, self.opened))


@dataclass
class Submitter:
    """Submits the jobs, and remembers them."""

    engine: Engine
    settings: Settings
    million: set[str] = field(default_factory=set)
    small: dict[str, float] = field(default_factory=dict)

    def stand(self) -> None:
        self.million = {self._submit(MILLION, COLLECTED), self._submit(MILLION, "text", shards=10_000)}

    def step(self, number: int) -> None:
        """A fortieth of the window has gone by."""
        if number % 2 == 0:
            self._submit(MIDDLING, "text", shards=8)
        models = BIG_MODELS if number % 2 else f"{OTHER_MODELS}-{number}"
        moment = time.monotonic()
        self.small[self._submit(SMALL, "text", models=models)] = moment

    def _submit(self, features: int, corpus: str, shards: int = 1, models: str = BIG_MODELS) -> str:
        spec = JobSpec(
            subject=SubjectSpec(model=models),
            dictionary=DictionarySpec(source="simulated"),
            corpus=CorpusSpec(path=corpus, max_tokens=shards * SHARD_TOKENS),
            features=f"0-{features - 1}",
        )
        with transaction(self.engine) as session:
            job_id = jobs.submit(session, spec, Facts(features, identity_of(models))).id
        notify(self.engine, self.settings)
        return job_id


def main() -> None:
    options = _options()
    with _settings(options) as settings:
        line = measure(settings, options.workers, options.seconds, options.speed)
    print(json.dumps(line) if options.json else "\n".join(f"{name:>24}  {value}" for name, value in line.items()))


def measure(settings: Settings, workers: int, seconds: float, speed: float) -> dict[str, Any]:
    """Runs the fleet, and watches a window of so many seconds."""
    engine = make_engine(settings.database_url)
    submitter, sweeper = Submitter(engine, settings), MaintenanceThreads(engine, settings)
    crew = {Queue.GPU: workers // 4, Queue.LLM: workers - workers // 4}
    with _fleet(settings, crew, speed) as fleet:
        sweeper.start()
        submitter.stand()
        _wait_until_busy(engine, crew)
        opened = time.monotonic()
        for number in range(STEPS):
            submitter.step(number)
            time.sleep(max(0.0, opened + (number + 1) * seconds / STEPS - time.monotonic()))
        closed = time.monotonic()
        served, cpu = fleet.stop()
        sweeper.stop()
    small = _small_jobs(engine, submitter.small)
    engine.dispose()
    sizes = {"bench": "fleet", "workers": workers, "speed": speed, "window_s": round(closed - opened, 1)}
    return sizes | report(Observed(opened, closed, served, submitter.million, small, cpu), crew)


def report(seen: Observed, crew: dict[Queue, int]) -> dict[str, Any]:
    """The figures of one window."""
    window = seen.closed - seen.opened
    busy = {queue: sum(seen.inside(one) for one in seen.served if one.queue is queue) for queue in crew}
    gaps = sorted(_gaps(seen), key=lambda gap: gap.whole)
    ended = [one for one in seen.served if seen.opened <= one.ended < seen.closed]
    waits = sorted(_waits(seen))
    early = [job for job in seen.small if job.submitted < seen.opened + window / 2]
    return {
        "utilisation": round(sum(busy.values()) / (sum(crew.values()) * window), 4),
        **{f"utilisation_{queue}": round(busy[queue] / (crew[queue] * window), 4) for queue in crew},
        "opening": round(sum(one.opening for one in ended) / (sum(crew.values()) * window), 4),
        "chunks": len(ended),
        "chunks_per_s": round(len(ended) / window, 1),
        "of_the_million": round(sum(one.job_id in seen.million for one in ended) / len(ended), 3),
        "gap_ms_p50": round(1000 * statistics.median(gap.whole for gap in gaps), 1),
        "gap_ms_p95": round(1000 * gaps[int(0.95 * len(gaps))].whole, 1),
        "gap_ms_of": {name: round(1000 * statistics.median(getattr(gap, name) for gap in gaps), 1) for name in ("end", "notify", "claim")},
        "worker_cpu_ms_per_chunk": round(1000 * seen.cpu / len(seen.served), 1),
        "small_jobs": len(seen.small),
        "small_unfinished": sum(job.seconds is None for job in early),
        "small_wait_s_p50": round(statistics.median(waits), 2) if waits else None,
        "small_wait_s_max": round(waits[-1], 2) if waits else None,
    }


@dataclass(frozen=True, slots=True)
class Gap:
    """Seconds between two chunks of one worker: writing the end of the one, notifying workers, and coming by the other."""

    end: float
    notify: float
    claim: float

    @property
    def whole(self) -> float:
        return self.end + self.notify + self.claim


def _gaps(seen: Observed) -> Iterator[Gap]:
    """Those of the window."""
    ordered = sorted(seen.served, key=lambda one: (one.queue, one.worker, one.begun))
    for one, following in pairwise(ordered):
        if (one.queue, one.worker) == (following.queue, following.worker) and seen.opened <= one.ended and following.begun < seen.closed:
            yield Gap(one.written - one.ended, one.notified - one.written, following.begun - one.notified)


def _waits(seen: Observed) -> Iterator[float]:
    """Seconds that a small job was neither worked on nor done."""
    work: dict[str, float] = {}
    for one in seen.served:
        work[one.job_id] = work.get(one.job_id, 0.0) + one.ended - one.begun
    for job in seen.small:
        if job.seconds is not None:
            yield job.seconds - work[job.id]


class Fleet:
    """The processes of the simulated workers."""

    def __init__(self, members: Sequence[Member]) -> None:
        context = multiprocessing.get_context("spawn")
        self._processes: list[tuple[SpawnProcess, Connection]] = []
        for member in members:
            ours, theirs = context.Pipe()
            process = context.Process(target=live, args=(member, theirs), daemon=True)
            process.start()
            self._processes.append((process, ours))

    def stop(self) -> tuple[list[Served], float]:
        """Ends all workers; what they served, and the CPU seconds that took."""
        for _, connection in self._processes:
            connection.send("stop")
        answers = [connection.recv() for _, connection in self._processes]
        for process, _ in self._processes:
            process.join()
        self._processes.clear()
        return [one for served, _ in answers for one in served], sum(cpu for _, cpu in answers)

    def kill(self) -> None:
        for process, _ in self._processes:
            process.kill()


@contextmanager
def _fleet(settings: Settings, crew: dict[Queue, int], speed: float) -> Iterator[Fleet]:
    starts = [(queue, start) for queue, number in crew.items() for start in range(0, number, WORKERS_A_PROCESS)]
    fleet = Fleet([Member(settings, queue, start, min(WORKERS_A_PROCESS, crew[queue] - start), speed) for queue, start in starts])
    try:
        yield fleet
    finally:
        fleet.kill()


def _wait_until_busy(engine: Engine, crew: dict[Queue, int]) -> None:
    """Until every worker has a chunk: the jobs of a million are prepared, and the start is over."""
    deadline = time.monotonic() + START_SECONDS
    leased = select(ChunkRow.queue, func.count()).where(ChunkRow.status == ChunkStatus.LEASED).group_by(ChunkRow.queue)
    while True:
        with snapshot(engine) as session:
            found = dict(session.execute(leased).all())
        if all(found.get(queue, 0) >= number for queue, number in crew.items()):
            return
        if time.monotonic() > deadline:
            raise SystemExit(f"after {START_SECONDS} s only these workers have a chunk: {found} of {crew}")
        time.sleep(0.5)


def _small_jobs(engine: Engine, submitted: dict[str, float]) -> list[SmallJob]:
    with snapshot(engine) as session:
        found = session.scalars(select(JobRow).where(JobRow.id.in_(submitted))).all()
        return [SmallJob(job.id, submitted[job.id], _seconds(job)) for job in found]


def _seconds(job: JobRow) -> float | None:
    return (job.finished_at - job.created_at).total_seconds() if job.status == JobStatus.COMPLETED and job.finished_at else None


@contextmanager
def _settings(options: argparse.Namespace) -> Iterator[Settings]:
    """Settings with a new database, dropped at the end, and a home of their own."""
    with ExitStack() as stack:
        broker = options.broker_url or stack.enter_context(LocalRedis()).url
        server = make_url(options.database_url or stack.enter_context(LocalPostgres()).url)
        admin = create_engine(server, isolation_level="AUTOCOMMIT")
        name = f"glossator_fleet_{uuid.uuid4().hex[:8]}"
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        try:
            url = server.set(database=name).render_as_string(hide_password=False)
            home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            migrate.upgrade(url)
            yield Settings(home=home, database_url=url, broker_url=broker, model_affinity_seconds=RESIDENCY_SECONDS / options.speed)
        finally:
            with admin.connect() as connection:
                connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
            admin.dispose()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=180.0, help="length of the window in seconds")
    parser.add_argument("--speed", type=float, default=5.0, help="factor by which the work is faster than a real fleet's")
    parser.add_argument("--database-url", default="", help="URL of a PostgreSQL server; the database itself is created and dropped")
    parser.add_argument("--broker-url", default="", help="URL of a Redis database that nothing else uses")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
