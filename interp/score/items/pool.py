"""Estimate how often a label fires from a large random pool of test windows."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from interp.domain.evidence import ContextKind, Contexts, FeatureEvidence, Split
from interp.stats.intervals import clustered_proportion

# The silent windows of a feature that fires in a larger share are not like any window.
SPARSE = 0.05
# Number of features whose silent windows are joined.
FEATURES = 512


def pool_of(evidence: Iterable[FeatureEvidence]) -> Contexts | None:
    """Return distinct inactive test windows of the sparse features; None where there are none.

    They are in the order of document and start. Each feature's windows are a uniform sample of those in which it is silent, drawn by its own hash.
    Those are nearly all windows, so together they are like windows drawn at random. They do not show whether another feature fires in them.
    """
    parts = [item.contexts.of(Split.TEST, ContextKind.INACTIVE) for item in evidence if item.statistics.window_density(Split.TEST) <= SPARSE]
    keys = [np.stack([part.documents, part.starts.astype(np.uint64)], axis=1) for part in parts if len(part)]
    if not keys:
        return None
    _, first = np.unique(np.concatenate(keys), axis=0, return_index=True)
    columns = {name: np.concatenate([getattr(part, name) for part in parts if len(part)])[first] for name in Contexts.__slots__}
    return Contexts(**columns)


def label_figures(said: NDArray[np.bool_], documents: NDArray[np.uint64], rate: float, recall: float | None, level: float) -> dict[str, float | None]:
    """Return the label's firing rate in pool windows, and its precision there.

    `said` [N] are its answers, of `documents` [N]. A feature that fires in a share `rate` of all windows, of which the label finds `recall`, is right
    in rate·recall of them. Divided by the label's own rate this is its precision at the true rate. `precision_of_label_high` divides by the lower end
    of the rate's interval: below 1 the label fires where the feature does not.
    """
    names = ("label_rate", "label_rate_low", "label_rate_high", "precision_of_label", "precision_of_label_high")
    if recall is None or not len(said):
        return dict.fromkeys(names)
    seen = float(said.mean())
    low, high = clustered_proportion(said, np.unique(documents, return_inverse=True)[1].ravel().astype(np.intp), level)
    right = rate * recall
    return dict(zip(names, (seen, low, high, _share(right, seen), _share(right, low)), strict=True))


def _share(right: float, whole: float) -> float | None:
    if whole <= 0:
        return 1.0 if right > 0 else None
    return min(1.0, right / whole)
