"""What a worker process has: settings, database, its name as an owner of leases, and the wish to stop."""

import threading
from dataclasses import dataclass, field

from sqlalchemy import Engine

from interp.config.settings import Settings
from interp.domain.lifecycle import Queue
from interp.store.db.engine import make_engine
from workers.runtime.health import Heartbeat
from workers.runtime.lease_renewer import LeaseRenewer
from workers.runtime.process_identity import this_process
from workers.runtime.worker_info import Report, WorkerInfo


@dataclass(frozen=True)
class Runtime:
    """One a process, shared by its threads. `stopping` is set on SIGTERM: work stops between batches and is handed back."""

    settings: Settings
    engine: Engine
    owner: str = field(default_factory=this_process)
    stopping: threading.Event = field(default_factory=threading.Event)
    presence: WorkerInfo = field(default_factory=lambda: WorkerInfo(Report(Queue.GPU, "worker")))
    pulse: Heartbeat = field(default_factory=Heartbeat)
    leases: LeaseRenewer = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "leases", LeaseRenewer(self.engine, self.settings, self.owner, self.presence, self.pulse))

    @classmethod
    def of(cls, settings: Settings, queue: Queue = Queue.GPU, name: str = "worker") -> "Runtime":
        return cls(settings, make_engine(settings.database_url), presence=WorkerInfo(Report(queue, name)))
