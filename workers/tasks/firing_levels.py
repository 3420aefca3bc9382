"""Find firing levels in a job's prepare chunk, and read them in collect chunks."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from interp.collect.levels import FiringLevels, calibrate
from interp.collect.neighbours import select_features
from interp.corpus.tokenized import TokenizedCorpus
from interp.domain.errors import ArtifactMissingError
from interp.files.atomic import writing
from interp.store.db.engine import snapshot
from interp.store.results import runs
from workers import artifact_paths
from workers.runtime import Work
from workers.tasks.model_cache import Models

# Name of the facts of a run that says how its firing levels were made.
FACT = "firing_level"
# The file: the number of features, then their indices, int64, and their levels, float32.
COUNT, HEAD = "<Q", 8


def find(work: Work, models: Models, corpus: TokenizedCorpus, features: NDArray[np.int64], progress: Callable[[float], None]) -> FiringLevels | None:
    """Find the levels of `features` int64 [S] (ascending) and neighbours; None where all 0."""
    spec = work.spec.collection
    if spec.firing_level == "zero":
        return None
    encoded = select_features(models.dictionary, features, spec.near_miss_neighbours).encoded
    return calibrate(models.subject, models.dictionary, corpus, spec, np.sort(encoded), progress)


def save(work: Work, levels: FiringLevels) -> None:
    """Write the levels for the job's collect chunks; raises DiskFullError."""
    content = struct.pack(COUNT, len(levels.features)) + levels.features.astype("<i8").tobytes() + levels.levels.astype("<f4").tobytes()

    def write(path: Path) -> None:
        with writing(path) as file:
            file.write(content)

    artifact_paths.store_of(work.runtime.settings).put(artifact_paths.levels(work.lease.job_id), write)


def load(work: Work, models: Models, corpus: TokenizedCorpus, features: NDArray[np.int64]) -> FiringLevels | None:
    """Read the levels of the prepare chunk, or find them again if deleted."""
    with snapshot(work.runtime.engine) as session:
        facts = runs.facts_of(session, work.run_id)
    if facts.get(FACT) != "quantile":
        return None
    store, name = artifact_paths.store_of(work.runtime.settings), artifact_paths.levels(work.lease.job_id)
    try:
        (head,) = store.read(name, [(0, HEAD)])
        (count,) = struct.unpack(COUNT, head)
        first, second = store.read(name, [(HEAD, HEAD + 8 * count), (HEAD + 8 * count, HEAD + 12 * count)])
    except ArtifactMissingError:
        return find(work, models, corpus, features, lambda _share: work.progress(0))
    return FiringLevels(np.frombuffer(first, "<i8"), np.frombuffer(second, "<f4"))
