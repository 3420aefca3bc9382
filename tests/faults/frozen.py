"""A worker that stands still past its lease, loses it to another, wakes up, and tries to finish."""

import time

from interp.lifecycle import CHUNK_ENDS, JOB_ENDS, ChunkStatus
from tests.faults.moments import ALL_STAGES, Held, lease_of, leases, status_of
from tests.faults.trial import Fault, Scene
from tests.faults.waiting import until


def freeze(scene: Scene) -> None:
    """SIGSTOP of a worker that surely holds a chunk, until others have taken over all that it held; then SIGCONT."""
    name, chunks = until(lambda: _caught(scene), "a worker to catch at work", every=0.005)
    scene.since = time.monotonic()
    try:
        until(lambda: all(_is_taken_over(scene, chunk) for chunk in chunks), "others to take over")
    finally:
        scene.cluster.thaw(name)


def _caught(scene: Scene) -> tuple[str, list[Held]] | None:
    """A worker that stands still, and what it holds. Nobody and nothing where the job is over."""
    if status_of(scene.cluster.engine, scene.job_id) in JOB_ENDS:
        return "upkeep", []
    for name in {scene.cluster.member_of(held.owner) for held in leases(scene.cluster.engine, scene.job_id)}:
        if name is not None:
            scene.cluster.freeze(name)
            found = [held for held in leases(scene.cluster.engine, scene.job_id) if scene.cluster.member_of(held.owner) == name]
            if found:
                scene.look()
                return name, found
            scene.cluster.thaw(name)
    return None


def _is_taken_over(scene: Scene, held: Held) -> bool:
    now = lease_of(scene.cluster.engine, held.chunk_id)
    return now.status in CHUNK_ENDS or (now.status == ChunkStatus.LEASED and now.token != held.token)


FAULTS = (Fault("frozen", "Worker frozen past its lease, then awake", freeze, ALL_STAGES[:-1], short=2),)
