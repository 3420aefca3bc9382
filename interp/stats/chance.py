"""Agreement beyond chance."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def cohens_kappa(a: NDArray[Any], b: NDArray[Any]) -> float | None:
    """Cohen's kappa of two lists of answers to the same N items, of any kind; None on no items, and when both say one thing throughout.

    (agreement - expected) / (1 - expected), where two answerers who ignore the items but keep their own rates would agree `expected` of the time:
    1 is perfect, 0 is chance. Two judges that always say yes agree wholly and show nothing: that is undefined, not 1.
    Source: Cohen (Educ. Psychol. Meas. 20, 1960).
    """
    if len(a) == 0:
        return None
    answers, numbered = np.unique(np.concatenate([np.asarray(a), np.asarray(b)]), return_inverse=True)
    both = numbered[: len(a)] * len(answers) + numbered[len(a) :]
    return kappa_of_counts(np.bincount(both, minlength=len(answers) ** 2).reshape(len(answers), -1))


def kappa_of_counts(counts: NDArray[np.integer]) -> float | None:
    """The same of `counts` [K, K]: how many items got answer i of the one and answer j of the other."""
    total = int(counts.sum())
    if not total:
        return None
    expected = float((counts.sum(axis=1) / total) @ (counts.sum(axis=0) / total))
    if expected >= 1:
        return None
    return (float(counts.trace() / total) - expected) / (1 - expected)
