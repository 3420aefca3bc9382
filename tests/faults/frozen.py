"""A worker that stands still past its lease, loses it to another, wakes up, and tries to finish."""

import time

from interp.domain.lifecycle import CHUNK_ENDS, ChunkStatus
from tests.faults.moments import ALL_STAGES, Held, lease_of
from tests.faults.trial import Fault, Scene
from tests.faults.waiting import until


def freeze(scene: Scene) -> None:
    """SIGSTOP of a worker that surely holds a chunk, until others have taken over all that it held; then SIGCONT."""
    # Nobody and nothing where the job is over.
    name, chunks = until(lambda: scene.catch() or (scene.is_over() and ("upkeep", [])), "a worker to catch at work", every=0.02)
    scene.since = time.monotonic()
    # What was let out while its connection was still being made reaches the endpoint after the worker wakes.
    scene.unseen = scene.cluster.settings.llm_max_concurrent_calls
    try:
        until(lambda: all(_is_taken_over(scene, chunk) for chunk in chunks), "others to take over")
    finally:
        scene.cluster.thaw(name)


def _is_taken_over(scene: Scene, held: Held) -> bool:
    now = lease_of(scene.cluster.engine, held.chunk_id)
    return now.status in CHUNK_ENDS or (now.status == ChunkStatus.LEASED and now.token != held.token)


FAULTS = (Fault("frozen", "Worker frozen past its lease, then awake", freeze, ALL_STAGES[:-1], short=2),)
