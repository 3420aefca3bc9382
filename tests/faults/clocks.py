"""Clocks that jump by an hour, ahead or back: those of the workers' machines, and the database's, which decides leases.

Processes that load `clock.c` tell the time that the test wants, as they would after a step of their machine's clock.
"""

import os
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.cluster import Cluster
from tests.faults.moments import ALL_STAGES
from tests.faults.trial import Fault, Scene

SOURCE = Path(__file__).with_name("clock.c")
HOUR = 3600


def offset_file(cluster: Cluster, whose: str) -> Path:
    """How many seconds that group's clock is ahead, as a 64-bit integer."""
    return cluster.settings.home.parent / f"clock-{whose}"


def environment(cluster: Cluster, whose: str) -> dict[str, str]:
    """Variables that make a process live by its group's clock."""
    library = cluster.settings.home.parent / "clock.so"
    if not library.exists():
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"], check=True)
    return {"LD_PRELOAD": str(library), "CLOCK_OFFSET_FILE": str(offset_file(cluster, whose))}


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
    """So many seconds ahead of the true time, from this moment on."""
    file = offset_file(cluster, whose)
    file.touch(0o644)
    with file.open("r+b") as handle:  # written over in place: processes have it mapped
        handle.write(struct.pack("=q", offset))


def clock(cluster: Cluster, whose: str) -> int:
    """How many seconds it is ahead."""
    return int(struct.unpack("=q", offset_file(cluster, whose).read_bytes())[0])


def jump(whose: str) -> Callable[[Scene], None]:
    """An hour, ahead or back from where the clock was."""
    return lambda scene: set_clock(scene.cluster, whose, clock(scene.cluster, whose) + scene.random.choice([HOUR, -HOUR]))


def jump_back_and_kill(scene: Scene) -> None:
    """Leases that were given before seem to last an hour; a worker is killed."""
    set_clock(scene.cluster, "database", clock(scene.cluster, "database") - HOUR)
    scene.cluster.kill(scene.one_at_work(scene.random.choice(["gpu", "llm"])))


@contextmanager
def _variables(values: dict[str, str]) -> Iterator[None]:
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            os.environ.pop(name, None)


def _has_no_compiler(_cluster: Cluster) -> str | None:
    return None if shutil.which("cc") else "there is no C compiler to make the clock with (Debian: apt install gcc)"


FAULTS = (
    Fault("clock-workers", "Clocks of the workers jump by an hour", jump("workers"), ALL_STAGES, ready=workers_with_clocks, blocks=_has_no_compiler),
    Fault(
        "clock-database", "Clock of the database jumps by an hour", jump("database"), ALL_STAGES, ready=database_with_clock, blocks=_has_no_compiler
    ),
    Fault(
        "clock-back-kill",
        "Clock of the database goes back an hour, and a worker dies",
        jump_back_and_kill,
        ALL_STAGES,
        ready=database_with_clock,
        blocks=_has_no_compiler,
    ),
)
