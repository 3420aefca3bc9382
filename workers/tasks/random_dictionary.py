"""Find the biases of random dictionaries in prepare chunks; read them in others."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from interp.collect.levels import batch_top_k_threshold, probed
from interp.collect.measure.matched_biases import matched_biases
from interp.collect.neighbours import select_features
from interp.corpus.tokenized import TokenizedCorpus
from interp.dictionary.module import open_dictionary
from interp.domain.errors import ArtifactMissingError
from interp.files.atomic import writing
from workers import artifact_paths
from workers.runtime import Work
from workers.tasks.model_cache import Models

Floats = NDArray[np.float32]


def find(work: Work, models: Models, corpus: TokenizedCorpus, features: NDArray[np.int64], progress: Callable[[float], None]) -> Floats:
    """Return biases float32 [F] of features int64 [S] and neighbours.

    They are of all, where a health report runs all. The trained dictionary is opened beside the random one meanwhile.
    """
    spec, subject = work.spec.collection, models.subject
    trained = open_dictionary(work.spec.dictionary.model_copy(update={"directions": "trained"})).to(subject.device)
    if trained.batch_k is not None:
        trained = trained.with_threshold(batch_top_k_threshold(subject, trained, corpus, spec, progress))
    if work.job.health is None:
        encoded = select_features(models.dictionary, features, spec.near_miss_neighbours).encoded
        # Those by which firing levels are chosen, too.
        encoded = np.union1d(encoded, probed(trained.n_features))
    else:
        encoded = np.arange(trained.n_features, dtype=np.int64)
    return matched_biases(subject, models.dictionary, trained, corpus, spec, encoded, progress)


def save(work: Work, biases: Floats) -> None:
    """Write the biases for the job's other chunks; raises DiskFullError."""

    def write(path: Path) -> None:
        with writing(path) as file:
            file.write(biases.astype("<f4").tobytes())

    artifact_paths.store_of(work.runtime.settings).put(artifact_paths.biases(work.lease.job_id, work.place), write)


def load(work: Work, models: Models, corpus: TokenizedCorpus, features: NDArray[np.int64]) -> Models:
    """Return the models with the prepare chunk's biases, found again if deleted.

    Trained dictionaries stay as they are.
    """
    if work.spec.dictionary.directions == "trained":
        return models
    name, nbytes = artifact_paths.biases(work.lease.job_id, work.place), 4 * models.dictionary.n_features
    try:
        (content,) = artifact_paths.store_of(work.runtime.settings).read(name, [(0, nbytes)])
    except ArtifactMissingError:
        return with_biases(models, find(work, models, corpus, features, lambda _share: work.progress(0)))
    return with_biases(models, np.frombuffer(content, "<f4"))


def with_biases(models: Models, biases: Floats) -> Models:
    """Return the models with these encoder biases float32 [F]."""
    return Models(models.subject, models.dictionary.with_biases(biases), models.keys)
