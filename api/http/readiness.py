"""Check this process' readiness and dependencies, in threads, so that none delays a probe."""

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

# Seconds that a probe waits for running checks.
WAIT_SECONDS = 1.0
OK = "ok"


@dataclass(frozen=True, slots=True)
class Check:
    """A health check, whose `fault` returns what is wrong, or None.

    A result is kept for `keep_seconds`. Only a fault of a `needed` check makes the process unready. Without a broker workers poll, and without the
    artifact store uploads alone are refused: taking the API out of service would not help in either case.
    """

    name: str
    fault: Callable[[], str | None]
    keep_seconds: float
    needed: bool = False


class HealthChecks:
    """The checks of one application."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        checks = [
            Check("database", lambda: database_fault(engine), 1.0, needed=True),
            Check("migrations", lambda: migrations_fault(engine), 1.0, needed=True),
            Check("broker", lambda: _text(broker_fault(settings)), 5.0),
            Check("artifacts", lambda: artifacts_fault(settings), 30.0),
        ]
        if settings.is_alone:
            # A database in a file takes no job once its disk is full. A database server has its own monitoring.
            checks.append(Check("disk", lambda: disk_fault(settings), 5.0, needed=settings.database_url.startswith("sqlite")))
        self._checks = [HealthCheck(check) for check in checks]

    def states(self) -> tuple[bool, dict[str, str]]:
        """Return whether the process is ready, and each check's result: `ok` or a fault."""
        for each in self._checks:
            each.begin()
        deadline = time.monotonic() + WAIT_SECONDS
        faults = {each.check.name: each.fault(max(0.0, deadline - time.monotonic())) for each in self._checks}
        is_ready = not any(faults[each.check.name] for each in self._checks if each.check.needed)
        return is_ready, {name: fault or OK for name, fault in faults.items()}


class HealthCheck:
    """The last result of one check, and the thread that repeats it."""

    def __init__(self, check: Check) -> None:
        self.check = check
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._running = False
        self._began, self._checked_at = 0.0, float("-inf")
        self._fault: str | None = None

    def begin(self) -> None:
        """Run the check in a thread, unless it is running or its result is recent."""
        with self._lock:
            if self._running or time.monotonic() - self._checked_at < self.check.keep_seconds:
                return
            self._running, self._began = True, time.monotonic()
            self._done.clear()
        threading.Thread(target=self._run, name=f"check-{self.check.name}", daemon=True).start()

    def fault(self, seconds: float) -> str | None:
        """Return what is wrong or None, after up to `seconds` for a running check."""
        if self._done.wait(seconds):
            return self._fault
        return f"has not answered for {time.monotonic() - self._began:.1f} s"

    def _run(self) -> None:
        try:
            fault = self.check.fault()
        except Exception as error:  # a probe reports any error
            fault = f"{type(error).__name__}: {error}"
        with self._lock:
            self._fault, self._running, self._checked_at = fault, False, time.monotonic()
            self._done.set()


def database_fault(engine: Engine) -> str | None:
    """Return what is wrong with the database; None if it answers."""
    try:
        with engine.execution_options(**READING).connect() as connection:
            connection.exec_driver_sql("SELECT 1")
    except SQLAlchemyError as error:
        return f"does not answer: {str(error).splitlines()[0]}"
    return None


def migrations_fault(engine: Engine) -> str | None:
    """Return what is wrong with the database's schema; None if it fits this version."""
    try:
        fault = revision.unfit(engine.execution_options(**READING))
    except SQLAlchemyError:
        return "cannot be seen: the database does not answer"
    return _text(fault)


def _text(fault: GlossatorError | None) -> str | None:
    return None if fault is None else str(fault)


def disk_fault(settings: Settings) -> str | None:
    """Return why the home or database folder is not writable (full, quota, read-only), or None."""
    for folder in {nearest_existing(path) for path in settings.own_folders}:
        if fault := write_fault(folder):
            return str(fault)
    return None


def artifacts_fault(settings: Settings) -> str | None:
    """Return why a probe file cannot be written to the artifact store, or None."""
    try:
        store = store_of(settings)
        if store.is_local:
            fault = write_fault(nearest_existing(Path(store.root)))
            return None if fault is None else f"{fault.what} {fault.why}"
        store.check()
    except GlossatorError as error:
        return f"{error.what} {error.why or ''}".strip()
    return None
