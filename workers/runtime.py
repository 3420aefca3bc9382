"""What a worker process has: settings, database, its name as an owner of leases, and the wish to stop."""

import threading
from dataclasses import dataclass, field

from sqlalchemy import Engine

from interp.lifecycle import Queue
from interp.settings import Settings
from interp.store.engine import make_engine
from workers.health import Pulse
from workers.owner import this_process
from workers.presence import Presence, Report


@dataclass(frozen=True)
class Runtime:
    """One a process, shared by its threads. `stopping` is set on SIGTERM: work stops between batches and is handed back."""

    settings: Settings
    engine: Engine
    owner: str = field(default_factory=this_process)
    stopping: threading.Event = field(default_factory=threading.Event)
    pulse: Pulse = field(default_factory=Pulse)
    presence: Presence = field(default_factory=lambda: Presence(Report(Queue.GPU, "worker")))

    @classmethod
    def of(cls, settings: Settings) -> "Runtime":
        return cls(settings, make_engine(settings.database_url))
