"""Find firing levels and BatchTopK thresholds in prepare chunks, and read them in collect chunks."""

import struct
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.collect.levels import FiringLevels, batch_top_k_threshold, calibrate
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
# Name of the fact that holds the threshold of a BatchTopK dictionary, found on the corpus.
THRESHOLD = "batch_top_k_threshold"
# The file: the number of features, then their indices, int64, and their levels, float32.
COUNT, HEAD = "<Q", 8


def find_threshold(work: Work, models: Models, corpus: TokenizedCorpus, progress: Callable[[float], None]) -> dict[str, float]:
    """Return the fact of a BatchTopK dictionary's threshold; none of other dictionaries."""
    if models.dictionary.batch_k is None:
        return {}
    return {THRESHOLD: batch_top_k_threshold(models.subject, models.dictionary, corpus, work.spec.collection, progress)}


def with_threshold(models: Models, facts: Mapping[str, Any]) -> Models:
    """Return the models with a BatchTopK dictionary as JumpReLU, by the run's facts."""
    if models.dictionary.batch_k is None:
        return models
    return replace(models, dictionary=models.dictionary.with_threshold(facts[THRESHOLD]))


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

    artifact_paths.store_of(work.runtime.settings).put(artifact_paths.levels(work.lease.job_id, work.place), write)


def facts_of(work: Work) -> Mapping[str, Any]:
    """Return the facts of the work's run, which its prepare chunk wrote."""
    with snapshot(work.runtime.engine) as session:
        return runs.facts_of(session, work.run_id)


def load(work: Work, models: Models, corpus: TokenizedCorpus, features: NDArray[np.int64], facts: Mapping[str, Any]) -> FiringLevels | None:
    """Read the levels of the prepare chunk, or find them again if deleted."""
    if facts.get(FACT) != "quantile":
        return None
    store, name = artifact_paths.store_of(work.runtime.settings), artifact_paths.levels(work.lease.job_id, work.place)
    try:
        (head,) = store.read(name, [(0, HEAD)])
        (count,) = struct.unpack(COUNT, head)
        first, second = store.read(name, [(HEAD, HEAD + 8 * count), (HEAD + 8 * count, HEAD + 12 * count)])
    except ArtifactMissingError:
        return find(work, models, corpus, features, lambda _share: work.progress(0))
    return FiringLevels(np.frombuffer(first, "<i8"), np.frombuffer(second, "<f4"))
