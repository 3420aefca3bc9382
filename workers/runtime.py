"""Define what threads of a worker process share, and a task's input and result."""

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from interp.config.settings import Settings
from interp.domain.lifecycle import Queue
from interp.domain.spec import JobSpec
from interp.store.db.engine import Engine, Session, make_engine
from interp.store.queue.chunks import Lease
from interp.store.queue.workers import WorkerInfo
from workers.leases import LeaseRenewer
from workers.machine import this_process
from workers.turns import Turns

# Time for returning the chunks of tasks that did not stop: an unreachable database is not waited for.
HAND_BACK_SECONDS = 5.0


@dataclass
class Runtime:
    """A worker process's settings, database and leases; SIGTERM sets `stopping`, which returns chunks."""

    settings: Settings
    engine: Engine
    owner: str = field(default_factory=this_process)
    stopping: threading.Event = field(default_factory=threading.Event)
    info: WorkerInfo = field(default_factory=lambda: WorkerInfo(Queue.GPU, "worker"))
    turns: Turns = field(default_factory=Turns)
    leases: LeaseRenewer = field(init=False)

    def __post_init__(self) -> None:
        self.leases = LeaseRenewer(self.engine, self.settings, self.owner, self.info, self.stopping)

    @classmethod
    def of(cls, settings: Settings, queue: Queue = Queue.GPU, name: str = "worker") -> "Runtime":
        return cls(settings, make_engine(settings.database_url), info=WorkerInfo(queue, name))


@dataclass(frozen=True)
class Work:
    """One chunk as a task gets it.

    `job` is the spec of the whole job, and `runs` are those of its dictionaries' results, once the prepare chunk has found or created them.
    `progress(units)` is called between batches; it raises what `HeldLease.progress` raises. `asking` is held open while the task waits for language
    models. `is_kept` says, without a query, whether the worker surely still has the chunk.
    """

    runtime: Runtime
    lease: Lease
    job: JobSpec
    runs: Sequence[int]
    progress: Callable[[int], None]
    asking: Callable[[], AbstractContextManager[None]] = nullcontext
    is_kept: Callable[[], bool] = lambda: True

    @property
    def place(self) -> int:
        """Return the place of the chunk's dictionary among the job's."""
        place: int = self.lease.payload.get("dictionary", 0)
        return place

    @cached_property
    def spec(self) -> JobSpec:
        """Return the job of the chunk's dictionary alone."""
        return self.job.each[self.place]

    @property
    def run_id(self) -> int:
        """Return the run of the chunk's dictionary."""
        if not self.runs:
            raise RuntimeError(f"job {self.lease.job_id} has no run yet")
        return self.runs[self.place]

    def of(self, place: int) -> "Work":
        """Return the work on one of the job's dictionaries."""
        return replace(self, lease=replace(self.lease, payload=self.lease.payload | {"dictionary": place}))


@dataclass(frozen=True)
class TaskResult:
    """A task's results; `write` stores them in the finishing transaction, and returns the chunk's.

    `afterwards` runs after that commit; where a worker dies before it, maintenance does the rest.
    """

    write: Callable[[Session], dict[str, Any] | None]
    afterwards: Callable[[], None] | None = None


Task = Callable[[Work], TaskResult]
