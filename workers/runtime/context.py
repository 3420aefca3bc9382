"""What a worker process has: settings, database, its name as an owner of leases, and the wish to stop."""

import threading
from dataclasses import dataclass, field

from sqlalchemy import Engine

from interp.config.settings import Settings
from interp.domain.lifecycle import Queue
from interp.store.db.engine import make_engine
from workers.runtime.health import Pulse
from workers.runtime.lease_renewer import Leases
from workers.runtime.process_identity import this_process
from workers.runtime.worker_info import Presence, Report


@dataclass(frozen=True)
class Runtime:
    """One a process, shared by its threads. `stopping` is set on SIGTERM: work stops between batches and is handed back."""

    settings: Settings
    engine: Engine
    owner: str = field(default_factory=this_process)
    stopping: threading.Event = field(default_factory=threading.Event)
    presence: Presence = field(default_factory=lambda: Presence(Report(Queue.GPU, "worker")))
    pulse: Pulse = field(default_factory=Pulse)
    leases: Leases = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "leases", Leases(self.engine, self.settings, self.owner, self.presence, self.pulse))

    @classmethod
    def of(cls, settings: Settings, queue: Queue = Queue.GPU, name: str = "worker") -> "Runtime":
        return cls(settings, make_engine(settings.database_url), presence=Presence(Report(queue, name)))
