"""Firing levels on their way from the prepare chunk, which finds them, to the collect chunks of a job."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from interp.collect.levels import FiringLevels, calibrate
from interp.collect.neighbours import roster_of
from interp.corpus.tokenized import TokenizedCorpus
from interp.domain.errors import ArtifactMissingError
from interp.files.atomic import writing
from interp.store.db.engine import snapshot
from interp.store.results import runs
from workers import artifact_paths
from workers.tasks.execute import Work
from workers.tasks.model_cache import Models

# What a run says of its features' firing levels, among the facts of its pass over the corpus.
FACT = "firing_level"
# How the file begins: the number of features; then come their indices, int64, and their levels, float32.
COUNT, HEAD = "<Q", 8


def find(work: Work, models: Models, corpus: TokenizedCorpus, features: NDArray[np.int64], progress: Callable[[float], None]) -> FiringLevels | None:
    """The levels of features int64 [S], ascending, and of their nearest features; None where all are 0. `progress` gets the share that is done."""
    spec = work.spec.collection
    if spec.firing_level == "zero":
        return None
    encoded = roster_of(models.dictionary, features, spec.near_miss_neighbours).encoded
    return calibrate(models.subject, models.dictionary, corpus, spec, np.sort(encoded), progress)


def save(work: Work, levels: FiringLevels) -> None:
    """Lays the levels down for the job's collect chunks. Raises DiskFull."""
    content = struct.pack(COUNT, len(levels.features)) + levels.features.astype("<i8").tobytes() + levels.levels.astype("<f4").tobytes()
    artifact_paths.store_of(work.runtime.settings).put(artifact_paths.levels(work.lease.job_id), lambda path: _write(path, content))


def load(work: Work, models: Models, corpus: TokenizedCorpus, features: NDArray[np.int64]) -> FiringLevels | None:
    """The levels that the job's prepare chunk found; where they were cleared away they are found again, the same."""
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


def _write(path: Path, content: bytes) -> None:
    with writing(path) as file:
        file.write(content)
