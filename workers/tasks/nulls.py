"""Choose whose explanations are nulls, the same in every chunk of a job."""

from collections.abc import Hashable, Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from interp.domain.evidence import FeatureEvidence
from interp.domain.explanation import ExplanationFamily
from interp.score.items.nulls import choose_nulls, twins_of
from interp.store.db.engine import Engine, snapshot
from interp.store.results import explanations, measurements
from workers.runtime import Work
from workers.tasks.measurements import Measured, usable_features


def nulls_of(
    work: Work, family: ExplanationFamily, number: int, wanted: Mapping[int, FeatureEvidence], measured: Measured | None = None
) -> Mapping[int, tuple[int, ...]]:
    """Choose whose explanations each of the `wanted` features uses as nulls.

    They are among the family's explained features; with `measured`, among those of which that was measured.
    """
    features, densities, lengths = candidates(work.runtime.engine, family, work.lease.job_id, _known(work, family, measured), measured)
    own = sorted(wanted.keys() & set(features))
    twins = {feature: twins_of(wanted[feature].nearest) for feature in own}
    return dict.fromkeys(wanted, ()) | dict(zip(own, choose_nulls(features, densities, lengths, number, work.spec.seed, twins, own), strict=True))


def _known(work: Work, family: ExplanationFamily, measured: Measured | None) -> Hashable:
    """Return the numbers of explanations and measurements, which a retry may raise."""
    with snapshot(work.runtime.engine) as session:
        explained = explanations.count_candidates(session, family, work.lease.job_id)
        return (explained,) if measured is None else (explained, *measurements.version(session, family.run_id, *measured))


@lru_cache(maxsize=16)
def candidates(
    engine: Engine,
    family: ExplanationFamily,
    job_id: str,
    known: Hashable,  # noqa: ARG001 - part of the cache's key
    measured: Measured | None = None,
) -> tuple[list[int], NDArray[np.float64], NDArray[np.int64]]:
    """Return the features whose explanations can be nulls, with density and label length.

    Cached: all chunks of a job choose from the same, and choose the same. `known` changes where a retry explained or measured more of them.
    """
    with snapshot(engine) as session:
        pool = explanations.candidates(session, family, job_id)
        if measured is not None:
            usable = usable_features(session, family.run_id, measured, [candidate.feature for candidate in pool])
            pool = [candidate for candidate in pool if candidate.feature in usable]
    densities = np.array([candidate.density for candidate in pool], dtype=np.float64)
    return [candidate.feature for candidate in pool], densities, np.array([candidate.length for candidate in pool], dtype=np.int64)
