"""Simulate workers: the queue is real (claim, lease, heartbeat, finish, notifications), the work is a pause, and no model runs.

A chunk's time is drawn from what a fleet with GPUs and a hosted language model would need, divided by a speed.
"""

import random
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from queue import Empty
from typing import Any

from kombu import Exchange
from kombu import Queue as MessageQueue
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from interp.config.settings import Settings
from interp.domain.lifecycle import Queue, Stage
from interp.domain.spec import JobSpec
from interp.planning.fingerprint import models_key
from interp.planning.plan import AskedFeatures, ChunkPlan, Range, Shard, Sizes, plan
from interp.store.db.engine import make_engine
from interp.store.queue import chunks
from interp.store.queue.workers import WorkerInfo
from workers.runtime import Runtime, TaskResult, Work
from workers.wakeup import make_app, notify
from workers.worker import TASKS, run_chunk

# Mean seconds of a chunk at speed 1, each drawn from a log-normal distribution around it.
SECONDS = {
    Stage.PREPARE: 20.0,  # hashing and tokenising
    Stage.COLLECT: 120.0,  # a corpus shard on one GPU
    Stage.COMBINE: 10.0,
    Stage.MERGE: 5.0,  # 512 features
    Stage.EXPLAIN: 30.0,  # 64 features, a call each
    Stage.SCORE: 60.0,  # 64 features, eight calls each
    Stage.SUMMARISE: 5.0,
}
SPREAD = 0.4
# Opening a model and a dictionary that the worker does not have open, and how many pairs stay open.
OPENING, SHELF = 15.0, 2
# A corpus shard, and how often a chunk tells of its progress.
SHARD_TOKENS, PROGRESS_SECONDS = 4_000_000, 0.2
# What a job's corpus is called whose evidence is there already.
COLLECTED = "collected"


@dataclass(frozen=True, slots=True)
class Served:
    """One chunk that was worked on, to its end or until the worker had to stop.

    Times are of the machine's monotonic clock: when the work began and ended, when its end was stored, and when workers were notified of what
    that made ready. `opening` are the seconds of work that went into opening models.
    """

    worker: int
    queue: Queue
    job_id: str
    begun: float
    ended: float
    opening: float = 0.0
    written: float = 0.0
    notified: float = 0.0


@dataclass
class Simulation(Runtime):
    """One simulated worker, as its tasks see it: what it has open, and what it has done."""

    number: int = 0
    queue: Queue = Queue.GPU
    speed: float = 1.0
    shelf: OrderedDict[str, None] = field(default_factory=OrderedDict)
    served: list[Served] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Member:
    """A process of the fleet: simulated workers `first` to `first + number`, a thread each."""

    settings: Settings
    queue: Queue
    first: int
    number: int
    speed: float


def live(member: Member, parent: Connection) -> None:
    """A process of the fleet: works until the parent sends a word, then answers with what was served, and its CPU seconds."""
    TASKS.update(dict.fromkeys(Stage, "benches.simulated:serve"))
    engine, stopping = make_engine(member.settings.database_url), threading.Event()
    base = Runtime(member.settings, engine, stopping=stopping)
    workers = [_simulation(base, member, number) for number in range(member.first, member.first + member.number)]
    threads = [threading.Thread(target=_work, args=(worker,), daemon=True) for worker in workers]
    for thread in threads:
        thread.start()
    parent.recv()
    stopping.set()
    for thread in threads:
        thread.join()
    parent.send(([served for worker in workers for served in worker.served], time.process_time()))


def serve(work: Work) -> TaskResult:
    """The task of every stage: waits for as long as the stage would take, heartbeats going on, and has nothing to write but the plan."""
    worker = work.runtime
    assert isinstance(worker, Simulation)
    begun = time.monotonic()
    opening = _opening(worker, work.spec.subject.model) if worker.queue is Queue.GPU else 0.0
    seconds = SECONDS[work.lease.stage] * random.Random(work.lease.chunk_id).lognormvariate(-(SPREAD**2) / 2, SPREAD)
    try:
        _pause(work, begun, (seconds + opening) / worker.speed)
    finally:
        worker.served.append(Served(worker.number, worker.queue, work.lease.job_id, begun, time.monotonic(), opening / worker.speed))

    def write(session: Session) -> dict[str, Any] | None:
        if work.lease.stage is Stage.PREPARE:
            chunks.add(session, work.lease.job_id, work.spec.priority, planned(work.spec))
        return None

    return TaskResult(write)


def identity_of(models: str) -> dict[str, Any]:
    """What stands in for an evidence's identity: as much of it as says which models a worker must have open."""
    return {"subject": models, "dictionary": models, "hook_point": models}


def planned(spec: JobSpec) -> list[ChunkPlan]:
    """The chunks of a job, by the real planning, from its features and tokens alone."""
    asked: list[Range] = spec.feature_ranges() or []
    missing = [] if spec.corpus.path == COLLECTED else asked
    shards = [Shard(n, n + 1, SHARD_TOKENS) for n in range(-(-(spec.corpus.max_tokens or SHARD_TOKENS) // SHARD_TOKENS))]
    sizes = Sizes(merge=512, explain=64)
    return plan([AskedFeatures(asked, missing)], shards if missing else [], "corpus" if missing else None, {Stage.EXPLAIN, Stage.SCORE}, sizes)


def _simulation(base: Runtime, member: Member, number: int) -> Simulation:
    info = WorkerInfo(member.queue, f"{member.queue}-{number}")
    settings, engine, owner = base.settings, base.engine, f"simulated-{number}/{base.owner}"
    return Simulation(settings, engine, owner, base.stopping, info, number=number, queue=member.queue, speed=member.speed)


def _work(worker: Simulation) -> None:
    """As a worker process does: one notification wakes it, and it goes on while there is something ready."""
    worker.leases.register()
    with _notifications(worker) as wait:
        while not worker.stopping.is_set():
            named = wait()
            try:
                while not worker.stopping.is_set() and run_chunk(worker, worker.queue, named):
                    written, named = time.monotonic(), None
                    notify(worker.engine, worker.settings)
                    worker.served[-1] = replace(worker.served[-1], written=written, notified=time.monotonic())
            except DBAPIError:
                worker.stopping.wait(1)
    worker.leases.unregister()


@contextmanager
def _notifications(worker: Simulation) -> Iterator[Any]:
    """A function that waits for the next notification, and gives its chunk id; None after `poll_interval_seconds` without one."""
    queue = MessageQueue(worker.queue.value, Exchange(""), routing_key=worker.queue.value)
    with make_app(worker.settings).connection_for_read() as connection, connection.SimpleQueue(queue, no_ack=True) as messages:

        def wait() -> str | None:
            try:
                args, _, _ = messages.get(timeout=worker.settings.poll_interval_seconds).payload
            except Empty:
                return None
            return str(args[0])

        yield wait


def _opening(worker: Simulation, models: str) -> float:
    """Seconds at speed 1 for opening models, which then lie uppermost on the worker's shelf."""
    seconds = 0.0 if models in worker.shelf else OPENING
    worker.shelf[models] = None
    worker.shelf.move_to_end(models)
    while len(worker.shelf) > SHELF:
        worker.shelf.popitem(last=False)
    worker.info.loaded_models = tuple(models_key(identity_of(name)) for name in worker.shelf)
    return seconds


def _pause(work: Work, begun: float, seconds: float) -> None:
    while (left := begun + seconds - time.monotonic()) > 0:
        time.sleep(min(left, PROGRESS_SECONDS))
        work.progress(int(work.lease.units * min(1.0, (time.monotonic() - begun) / seconds)))
