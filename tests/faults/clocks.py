"""Clocks that jump by an hour, ahead or back: those of the workers' machines, and the database's, which decides leases. By libfaketime."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.cluster import Cluster
from tests.faults.moments import ALL_STAGES
from tests.faults.trial import Fault, Scene

LIBRARIES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/local/lib/faketime/libfaketimeMT.so.1", "/usr/lib*/faketime/libfaketimeMT.so.1")
HOUR = 3600


def library() -> Path | None:
    """libfaketime, where it is installed."""
    return next((path for pattern in LIBRARIES for path in Path("/").glob(pattern.removeprefix("/"))), None)


def clock_file(cluster: Cluster, whose: str) -> Path:
    """What the processes of that group are told of the time: `+3600` is an hour ahead."""
    return cluster.settings.home.parent / f"clock-{whose}"


def environment(cluster: Cluster, whose: str) -> dict[str, str]:
    """Variables that make a process live by its clock file, read again every second. Timers, which only count, go on as they were."""
    return {
        "LD_PRELOAD": str(library()),
        "FAKETIME_TIMESTAMP_FILE": str(clock_file(cluster, whose)),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DISABLE_SHM": "1",
    }


@contextmanager
def workers_with_clocks(cluster: Cluster) -> Iterator[None]:
    """All processes of the service live by a clock that can be set."""
    set_clock(cluster, "workers", 0)
    for name in cluster.members:
        cluster.restart(name, environment(cluster, "workers"))
    cluster.wait_until_up()
    yield
    for name in cluster.members:
        cluster.restart(name, {})
    cluster.wait_until_up()


@contextmanager
def database_with_clock(cluster: Cluster) -> Iterator[None]:
    """PostgreSQL lives by a clock that can be set."""
    set_clock(cluster, "database", 0)
    with _variables(environment(cluster, "database")):
        cluster.postgres.restart()
    yield
    cluster.postgres.restart()
    cluster.engine.dispose()


def set_clock(cluster: Cluster, whose: str, offset: int) -> None:
    """So many seconds ahead of the true time."""
    file = clock_file(cluster, whose)
    file.write_text(f"{offset:+d}\n")
    file.chmod(0o644)


def jump(whose: str) -> Callable[[Scene], None]:
    """An hour, ahead or back from where the clock was."""

    def strike(scene: Scene) -> None:
        before = int(clock_file(scene.cluster, whose).read_text())
        set_clock(scene.cluster, whose, before + scene.random.choice([HOUR, -HOUR]))

    return strike


def jump_back_and_kill(scene: Scene) -> None:
    """Leases that were given before seem to last an hour; the worker that holds one is killed."""
    before = int(clock_file(scene.cluster, "database").read_text())
    set_clock(scene.cluster, "database", before - HOUR)
    scene.cluster.kill(scene.one_at_work(scene.random.choice(["gpu", "llm"])))


@contextmanager
def _variables(values: dict[str, str]) -> Iterator[None]:
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            os.environ.pop(name, None)


def _has_no_library(_cluster: Cluster) -> str | None:
    return None if library() else "libfaketime is not installed (Debian: apt install libfaketime)"


FAULTS = (
    Fault("clock-workers", "Clocks of the workers jump by an hour", jump("workers"), ALL_STAGES, ready=workers_with_clocks, blocks=_has_no_library),
    Fault(
        "clock-database", "Clock of the database jumps by an hour", jump("database"), ALL_STAGES, ready=database_with_clock, blocks=_has_no_library
    ),
    Fault(
        "clock-back-kill",
        "Clock of the database goes back an hour, and a worker dies",
        jump_back_and_kill,
        ALL_STAGES,
        short=0,
        ready=database_with_clock,
        blocks=_has_no_library,
    ),
)
