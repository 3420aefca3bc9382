"""Not a byte left on the disk of the workers, then of the database; room again after a while."""

import time

from tests.faults.cluster import Cluster
from tests.faults.moments import ALL_STAGES, GPU_STAGES
from tests.faults.trial import Fault, Scene

FULL_SECONDS = 3.0


def of_workers(scene: Scene) -> None:
    """The disk with artifacts: tokenised corpora, partial evidence."""
    with scene.cluster.disks["home"].full():
        time.sleep(FULL_SECONDS)


def of_database(scene: Scene) -> None:
    with scene.cluster.disks["postgres"].full():
        time.sleep(FULL_SECONDS)
    scene.cluster.engine.dispose()


def _has_no_disks(cluster: Cluster) -> str | None:
    return None if cluster.disks else "nobody but root may mount a disk that can be filled"


FAULTS = (
    Fault("disk-workers", "Disk of the workers full", of_workers, GPU_STAGES, blocks=_has_no_disks),
    Fault("disk-database", "Disk of PostgreSQL full", of_database, ALL_STAGES, blocks=_has_no_disks),
)
