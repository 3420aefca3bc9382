"""Clocks that jump by an hour, ahead or back: those of the workers' machines, and the database's, which decides leases."""

from collections.abc import Callable

from tests.faults.cluster import Cluster
from tests.faults.kills import caught
from tests.faults.moments import ALL_STAGES
from tests.faults.trial import Fault, Scene

HOUR = 3600


def jump(whose: str) -> Callable[[Scene], None]:
    """An hour, ahead or back from where the clock was. Ahead, the database takes every lease for over."""

    def strike(scene: Scene) -> None:
        if whose == "database":
            scene.take_from_the_living()
        scene.cluster.clocks[whose].step(scene.random.choice([HOUR, -HOUR]))

    return strike


def jump_back_and_kill(scene: Scene) -> None:
    """Leases that were given before seem to last an hour; a worker is killed."""
    name = caught(scene, scene.random.choice(["gpu", "llm"]))
    scene.take_from_the_living()
    scene.cluster.clocks["database"].step(-HOUR)
    scene.cluster.kill(name)


def _has_no_clocks(cluster: Cluster) -> str | None:
    return None if cluster.clocks else "there is no C compiler to make a clock with (Debian: apt install gcc libc6-dev)"


FAULTS = (
    Fault("clock-workers", "Clocks of the workers jump by an hour", jump("workers"), ALL_STAGES, blocks=_has_no_clocks),
    Fault("clock-database", "Clock of the database jumps by an hour", jump("database"), ALL_STAGES, blocks=_has_no_clocks),
    Fault("clock-back-kill", "Clock of the database goes back an hour, and a worker dies", jump_back_and_kill, ALL_STAGES, blocks=_has_no_clocks),
)
