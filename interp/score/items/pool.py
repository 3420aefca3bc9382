"""Estimate how often a label fires from test windows drawn at random, many more than a feature keeps of its own."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from interp.domain.evidence import ContextKind, Contexts, FeatureEvidence, Split
from interp.stats.intervals import clustered_proportion

# A feature that fires in more of the windows leaves too few silent ones for these to be like any window.
SPARSE = 0.05
# Features whose silent windows are put together.
FEATURES = 512


def pool_of(evidence: Iterable[FeatureEvidence]) -> Contexts | None:
    """Return inactive test windows of the sparse features, each once, in the order of document and start; None where there are none.

    Each feature's are a uniform sample of the windows in which it is silent, drawn by a hash of its own: nearly all windows, so that all of them
    together are like windows drawn at random. They say nothing of whether another feature fires in them.
    """
    parts = [item.contexts.of(Split.TEST, ContextKind.INACTIVE) for item in evidence if item.statistics.window_density(Split.TEST) <= SPARSE]
    keys = [np.stack([part.documents, part.starts.astype(np.uint64)], axis=1) for part in parts if len(part)]
    if not keys:
        return None
    _, first = np.unique(np.concatenate(keys), axis=0, return_index=True)
    columns = {name: np.concatenate([getattr(part, name) for part in parts if len(part)])[first] for name in Contexts.__slots__}
    return Contexts(**columns)


def label_figures(said: NDArray[np.bool_], documents: NDArray[np.uint64], rate: float, recall: float | None, level: float) -> dict[str, float | None]:
    """Return how often the label fires in windows drawn at random (`said` [N], of `documents` [N]), and its precision there.

    A feature that fires in a share `rate` of all windows, of which the label finds `recall`, is right in rate·recall of them: divided by the label's
    own rate that is the label's precision at the true rate, whatever the label is too broad for. `precision_of_label_high` puts the lower end of the
    rate's interval in its place: below 1 the label fires where the feature does not.
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
