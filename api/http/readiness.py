"""Whether this process can serve, and what else of the installation is well: each thing is looked at in a thread of its own, so that one that hangs
holds up no probe.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from interp.config.home import write_fault
from interp.config.settings import Settings
from interp.domain.errors import GlossatorError
from interp.files.atomic import nearest_existing
from interp.store.db import revision
from interp.store.db.engine import READING, Engine, SQLAlchemyError
from workers.artifact_paths import store_of
from workers.wakeup import broker_fault

# How long a probe waits for what is being looked at.
WAIT_SECONDS = 1.0
OK = "ok"


@dataclass(frozen=True, slots=True)
class Check:
    """Something to look at: `fault` says what is wrong with it, or None. What was seen is believed for `keep_seconds`.

    Without what is `needed` nothing can be answered. The rest is told and no more: without a broker workers look for themselves, and the API
    itself writes no artifact, so that an API that is taken out of service for either would only add to the harm.
    """

    name: str
    fault: Callable[[], str | None]
    keep_seconds: float
    needed: bool = False


class HealthChecks:
    """One an application."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        checks = [
            Check("database", lambda: database_fault(engine), 1.0, needed=True),
            Check("migrations", lambda: migrations_fault(engine), 1.0, needed=True),
            Check("broker", lambda: broker_fault(settings), 5.0),
            Check("artifacts", lambda: artifacts_fault(settings), 30.0),
        ]
        if settings.is_alone:
            # A book in a file takes no job once its disk is full. A database server looks after its own.
            checks.append(Check("disk", lambda: disk_fault(settings), 5.0, needed=settings.database_url.startswith("sqlite")))
        self._looks = [HealthCheck(check) for check in checks]

    def states(self) -> tuple[bool, dict[str, str]]:
        """Whether requests can be answered, and `ok` or what is wrong of everything, by name."""
        for look in self._looks:
            look.begin()
        deadline = time.monotonic() + WAIT_SECONDS
        faults = {look.check.name: look.fault(max(0.0, deadline - time.monotonic())) for look in self._looks}
        is_ready = not any(faults[look.check.name] for look in self._looks if look.check.needed)
        return is_ready, {name: fault or OK for name, fault in faults.items()}


class HealthCheck:
    """One check as it was last seen, and the thread that looks again."""

    def __init__(self, check: Check) -> None:
        self.check = check
        self._lock = threading.Lock()
        self._seen = threading.Event()
        self._running = False
        self._began, self._looked_at = 0.0, float("-inf")
        self._fault: str | None = None

    def begin(self) -> None:
        """Looks again, if the last look is too long ago and none is under way."""
        with self._lock:
            if self._running or time.monotonic() - self._looked_at < self.check.keep_seconds:
                return
            self._running, self._began = True, time.monotonic()
            self._seen.clear()
        threading.Thread(target=self._run, name=f"look-{self.check.name}", daemon=True).start()

    def fault(self, seconds: float) -> str | None:
        """What is wrong; waits so many seconds for a look that is under way."""
        if self._seen.wait(seconds):
            return self._fault
        return f"has not answered for {time.monotonic() - self._began:.1f} s"

    def _run(self) -> None:
        try:
            fault = self.check.fault()
        except Exception as error:  # a probe says what is wrong, whatever it is
            fault = f"{type(error).__name__}: {error}"
        with self._lock:
            self._fault, self._running, self._looked_at = fault, False, time.monotonic()
            self._seen.set()


def database_fault(engine: Engine) -> str | None:
    """What is wrong with the database; None when it answers."""
    try:
        with engine.execution_options(**READING).connect() as connection:
            connection.exec_driver_sql("SELECT 1")
    except SQLAlchemyError as error:
        return f"does not answer: {str(error).splitlines()[0]}"
    return None


def migrations_fault(engine: Engine) -> str | None:
    """What is wrong with the database's tables; None when they are those of this version."""
    try:
        fault = revision.unfit(engine.execution_options(**READING))
    except SQLAlchemyError:
        return "cannot be seen: the database does not answer"
    return None if fault is None else str(fault)


def disk_fault(settings: Settings) -> str | None:
    """What stops the service from writing to its home and its database's folder: a full disk, a quota, a read-only disk. None: nothing does."""
    for folder in {nearest_existing(path) for path in settings.own_folders}:
        if fault := write_fault(folder):
            return str(fault)
    return None


def artifacts_fault(settings: Settings) -> str | None:
    """What is wrong with the artifact store; None when files can be written to it. Of what is tried nothing stays."""
    try:
        store = store_of(settings)
        if store.is_local:
            fault = write_fault(nearest_existing(Path(store.root)))
            return None if fault is None else f"{fault.what} {fault.why}"
        store.check()
    except GlossatorError as error:
        return f"{error.what} {error.why or ''}".strip()
    return None
