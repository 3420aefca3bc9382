"""Choose whose explanations are nulls, the same in every chunk of a job."""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from interp.domain.evidence import FeatureEvidence
from interp.domain.explanation import ExplanationFamily
from interp.score.items.nulls import choose_nulls, twins_of
from interp.store.db.engine import Engine, snapshot
from interp.store.results import explanations
from workers.runtime import Work


def nulls_of(work: Work, family: ExplanationFamily, known: int, number: int, wanted: Mapping[int, FeatureEvidence]) -> Mapping[int, tuple[int, ...]]:
    """Choose whose explanations, of those `known`, each of the `wanted` features uses as nulls."""
    features, densities, lengths = candidates(work.runtime.engine, family, work.lease.job_id, known)
    own = sorted(wanted.keys() & set(features))
    twins = {feature: twins_of(wanted[feature].nearest) for feature in own}
    return dict.fromkeys(wanted, ()) | dict(zip(own, choose_nulls(features, densities, lengths, number, work.spec.seed, twins, own), strict=True))


@lru_cache(maxsize=16)
def candidates(
    engine: Engine,
    family: ExplanationFamily,
    job_id: str,
    known: int,  # noqa: ARG001 - part of the cache's key
) -> tuple[list[int], NDArray[np.float64], NDArray[np.int64]]:
    """Return the features whose explanations can be nulls, with density and label length.

    Cached: all chunks of a job choose from the same, and choose the same. `known` is their number, so that a retry finds those that it explained.
    """
    with snapshot(engine) as session:
        pool = explanations.candidates(session, family, job_id)
    densities = np.array([candidate.density for candidate in pool], dtype=np.float64)
    return [candidate.feature for candidate in pool], densities, np.array([candidate.length for candidate in pool], dtype=np.int64)
